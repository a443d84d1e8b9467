"""Attention of an unmodified diffusers Wan transformer that remembers earlier blocks.

The processors hold no state. What a forward pass needs is bound around the call, in a context
variable: every thread and every task has its own, so one model serves many requests at once.
Outside such a call the processors do what diffusers' own do.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor

from adapters.wan.bound import BoundProcessor, binding, rotated_heads
from adapters.wan.cache import BlockCache, Segment
from adapters.wan.rope import Rotation


@dataclass(frozen=True)
class TextKeys:
    """Keys and values of one prompt in every layer, ``(batch, tokens, heads, head)`` each.

    Never changed, so that requests may share it.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class Pass:
    """What one forward pass over new blocks needs to know.

    Args:
        cache: Written by the pass.
        segments: The blocks, from :meth:`~adapters.wan.cache.BlockCache.plan`.
        rotation: Of all tokens of the pass.
        text: The prompt.
    """

    cache: BlockCache
    segments: Sequence[Segment]
    rotation: Rotation
    text: TextKeys


_running: ContextVar[Pass | None] = ContextVar("wan_pass", default=None)


def running(current: Pass) -> AbstractContextManager[None]:
    """Bind a pass to the forward calls made inside."""
    return binding(_running, current)


def install(model: Any) -> None:
    """Give a ``WanTransformer3DModel`` the processors of this module; its results stay the same.

    Raises:
        ValueError: The model also looks at pictures, as those from image to video do.
    """
    for layer, block in enumerate(model.blocks):
        if block.attn2.add_k_proj is not None:
            raise ValueError(
                "this Wan model looks at a picture beside the text; use a text-to-video model and "
                "commit the encoded first frame"
            )
        for attention, kind in ((block.attn1, BlockAttention), (block.attn2, TextAttention)):
            if not isinstance(attention.processor, kind):
                attention.set_processor(kind(layer, attention.processor))


def text_keys(model: Any, text: Tensor) -> TextKeys:
    """Project a prompt for all layers.

    Args:
        model: The transformer.
        text: ``(batch, tokens, width)`` states of the text encoder, padded as the model expects.
    """
    embedder = model.condition_embedder.text_embedder
    states = embedder(text.to(model.dtype))
    return TextKeys(tuple(_text_states(block.attn2, states) for block in model.blocks))


class _LayerProcessor(BoundProcessor):
    """A processor that knows its layer.

    Args:
        layer: Which layer of the cache, and of the prompt, it reads.
        previous: The processor in its place so far, for its choice of attention kernel.
    """

    bound = _running

    def __init__(self, layer: int, previous: Any) -> None:
        super().__init__()
        self.layer = layer
        self._attention_backend = previous._attention_backend


class BlockAttention(_LayerProcessor):
    """Self-attention of new blocks over themselves and the cache, which it writes."""

    def attend(self, attn: Any, hidden_states: Tensor, current: Pass) -> Tensor:
        """See :class:`~adapters.wan.bound.BoundProcessor`."""
        query, key, value = rotated_heads(attn, hidden_states, current.rotation)
        attended = []
        # Block after block: each looks at what was committed when it came, without any mask.
        for segment in current.segments:
            part = segment.tokens
            keys, values = current.cache.exchange(self.layer, segment, key[:, part], value[:, part])
            attended.append(_attend(query[:, part], keys, values, self._attention_backend))
        return _output(attn, torch.cat(attended, dim=1))


class TextAttention(_LayerProcessor):
    """Cross-attention to a prompt whose keys are at hand."""

    def attend(self, attn: Any, hidden_states: Tensor, current: Pass) -> Tensor:
        """See :class:`~adapters.wan.bound.BoundProcessor`."""
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        keys, values = current.text.layers[self.layer]
        return _output(attn, _attend(query, keys, values, self._attention_backend))


def _text_states(attn: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    """One layer's keys and values of a prompt."""
    if attn.fused_projections:
        key, value = attn.to_kv(states).chunk(2, dim=-1)
    else:
        key, value = attn.to_k(states), attn.to_v(states)
    return attn.norm_k(key).unflatten(2, (attn.heads, -1)), value.unflatten(2, (attn.heads, -1))


def _attend(query: Tensor, keys: Tensor, values: Tensor, backend: Any) -> Tensor:
    attended = dispatch_attention_fn(query, keys, values, backend=backend)
    return attended.flatten(2, 3).type_as(query)


def _output(attn: Any, attended: Tensor) -> Tensor:
    return attn.to_out[1](attn.to_out[0](attended))
