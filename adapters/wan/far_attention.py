"""Self-attention of diffusers' AnyFlow-FAR that looks at what was committed, and at nothing else.

The class's own processor fills sequences up to a multiple of 128 tokens with zeros, and gives them
no mask in the cached steps (diffusers 0.42): every query spends part of its attention on keys that
do not exist. This one needs no filling, so cached steps are what the masked whole pass, in which
the model was trained, gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_anyflow_far import apply_rotary_emb
from torch import Tensor


@dataclass
class LayerStates:
    """One layer's keys and values of the committed blocks, ``(batch, heads, tokens, head)``.

    Keys are kept before their rotation: places of the compressed past move as the past grows.
    """

    keys: Tensor | None = None
    values: Tensor | None = None


class FarAttention:
    """The processor; calls without :class:`LayerStates` go to the one in its place before.

    Args:
        previous: That one.
    """

    _attention_backend = None
    _parallel_config = None

    def __init__(self, previous: Any) -> None:
        self.previous = previous

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Any = None,
        rotary_emb: Any = None,
        kv_cache: Any = None,
        kv_cache_flag: Any = None,
    ) -> Tensor:
        """The module's forward; diffusers gives the arguments."""
        if not isinstance(kv_cache, LayerStates):
            rest = (encoder_hidden_states, attention_mask, rotary_emb, kv_cache, kv_cache_flag)
            passed: Tensor = self.previous(attn, hidden_states, *rest)
            return passed
        query, key, value = (
            states.to(hidden_states.dtype).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for states in (
                attn.norm_q(attn.to_q(hidden_states)),
                attn.norm_k(attn.to_k(hidden_states)),
                attn.to_v(hidden_states),
            )
        )
        if kv_cache_flag["is_cache_step"]:
            kv_cache.keys, kv_cache.values = key, value
        elif kv_cache.keys is not None and kv_cache.values is not None:
            key = torch.cat((kv_cache.keys, key), dim=2)
            value = torch.cat((kv_cache.values, value), dim=2)
        seen = dispatch_attention_fn(
            apply_rotary_emb(query, rotary_emb["query"]).transpose(1, 2),
            apply_rotary_emb(key, rotary_emb["key"]).transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=attention_mask,
            backend=self._attention_backend,
        )
        out: Tensor = attn.to_out[1](attn.to_out[0](seen.flatten(2, 3).type_as(query)))
        return out
