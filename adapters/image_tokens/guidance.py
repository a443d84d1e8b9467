"""Classifier-free guidance around a transformers text decoder that writes pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.hf_vlm.masks import additive
from adapters.hf_vlm.taps import layers_read, side_by_side
from adapters.image_tokens.padding import laid_out, prompt_slots, real_slots
from mmspec.cache import RaggedCache
from mmspec.messages import Features
from mmspec.paired_cache import PairedCache
from mmspec.state import State
from mmspec.token_target import Prefilled

# Logit of ids that are no picture codes. Finite, because guidance takes differences of logits.
NEVER = -1e9


class PaddedPairs(PairedCache):
    """A cache of guided images whose two prompts may differ in length.

    Attributes:
        pads: ``(2 * images,)`` slots in front of each row's prompt that hold nothing; None where
            no row has any.
    """

    pads: Tensor | None = None


class GuidedDecoder(ABC):
    """Implements :class:`mmspec.roles.Decoder` for image models of transformers.

    Where any row's guidance is above 1, both halves of guidance run as one batch, the rows with
    their prompt first, and the logits, in float32, are ``u + scale * (c - u)``. Hidden states are
    then twice as wide: conditional and unconditional side by side, 0 where only padding is.

    Args:
        text: The text decoder; set to eval mode, otherwise never changed.
        vocab_size: Tokens there are logits for.
    """

    # Whether prompts and pictures share one vocabulary; if not, `Prefilled.ids` are placeholders.
    shared_vocabulary = True

    def __init__(self, text: Any, vocab_size: int) -> None:
        self.text = text.eval()
        self.vocab_size = vocab_size
        self.hidden_size: int = text.config.hidden_size
        self.num_layers: int = text.config.num_hidden_layers

    @abstractmethod
    def embed_prompt(self, ids: Tensor) -> Tensor:
        """Input embeddings ``(..., hidden)`` of prompt ids."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings ``(..., hidden)`` of what is generated."""

    @abstractmethod
    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``(..., vocab)``, float32 and not guided, of states after the final norm."""

    @torch.no_grad()
    def prefill(self, inputs: dict[str, Any], reserve: int, features: Features | None) -> Prefilled:
        """Read the prompts; the logits of their last token are for the first code.

        Args:
            inputs: As made by :func:`adapters.image_tokens.prompting.guided_inputs`.
            reserve: Slots for what follows.
            features: Hidden states to keep; ``embeds`` are those of the prompts.

        Raises:
            ValueError: Inputs that do not belong together, with the fix.
        """
        self._check(inputs)
        scale = inputs.get("guidance_scale")
        guided = scale is not None and bool((scale > 1).any())
        layout = laid_out(inputs, guided)
        longest = layout.ids.shape[1]
        cache = (PaddedPairs if guided else RaggedCache)(self.num_layers, longest + reserve)
        if isinstance(cache, PaddedPairs) and layout.padded:
            cache.pads = layout.pads
        cache.place(0, longest, longest)
        embeds = self.embed_prompt(layout.ids)
        with self._reading(features) as read:
            hidden = self._run(embeds, layout.positions, layout.mask, cache)
        ends = torch.tensor(layout.lengths, device=hidden.device) - 1
        rows = torch.arange(len(hidden), device=hidden.device)
        last = hidden[rows, ends.repeat(len(hidden) // len(ends))].unsqueeze(1)
        logits = self.head(last)
        if guided:
            logits = self.guide(logits, ends.unsqueeze(1), inputs)
        ids = layout.ids[: len(ends)]
        if not self.shared_vocabulary:
            ids = torch.zeros_like(ids)
        if features is None:
            return Prefilled(ids, layout.lengths, cache, logits[:, 0])
        real = real_slots(layout.pads, longest)[:, 0, 0].unsqueeze(-1)
        return Prefilled(
            ids,
            layout.lengths,
            cache,
            logits[:, 0],
            hidden=_halves_side_by_side(side_by_side(read, hidden) * real, guided),
            embeds=_halves_side_by_side(embeds * real, guided),
        )

    @torch.no_grad()
    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor]:
        """One pass over picture tokens; the unconditional half gets the same ones.

        See :class:`mmspec.roles.Decoder`.
        """
        cache = state.cache
        guided = isinstance(cache, PairedCache)
        embeds = self.embed(tokens)
        if guided:
            embeds = embeds.repeat(2, 1, 1)
            positions_of_rows = positions.repeat(2, 1)
            if mask is not None and len(mask) > 1:
                mask = mask.repeat(2, 1, 1, 1)
        else:
            positions_of_rows = positions
        pads = cache.pads if isinstance(cache, PaddedPairs) else None
        if pads is not None:
            positions_of_rows = (positions_of_rows - pads.unsqueeze(1)).clamp(min=0)
            real = real_slots(pads, cache.view)
            mask = real if mask is None else mask & real
        with self._reading(state.features) as read:
            hidden = self._run(embeds, positions_of_rows, mask, cache)
        logits = self.head(hidden)
        if guided:
            logits = self.guide(logits, positions, state.prompt.inputs)
        return logits, _halves_side_by_side(side_by_side(read, hidden), guided)

    def guide(self, logits: Tensor, positions: Tensor, inputs: dict[str, Any]) -> Tensor:
        """``(batch, n, vocab)`` from both halves.

        Args:
            logits: ``(2 * batch, n, vocab)``, the rows with their prompt first.
            positions: ``(batch, n)`` logical positions that the logits follow.
            inputs: As given to ``prefill``.
        """
        with_it, without_it = logits.chunk(2)
        scale = inputs["guidance_scale"].to(logits.dtype).view(-1, 1, 1)
        applies = scale > 1
        interval = inputs.get("cfg_interval", -1)
        if interval >= 0:
            made = positions - prompt_slots(inputs).unsqueeze(1)
            applies = applies & (made <= interval).unsqueeze(-1)
        return torch.where(applies, without_it + scale * (with_it - without_it), with_it)

    def _run(
        self, embeds: Tensor, positions: Tensor, mask: Tensor | None, cache: RaggedCache
    ) -> Tensor:
        """States ``(rows, n, hidden)`` after the final norm."""
        seen = None if mask is None else additive(mask, len(embeds), embeds.dtype)
        hidden: Tensor = self.text(
            inputs_embeds=embeds,
            position_ids=positions,
            attention_mask=seen,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return hidden

    def _reading(self, features: Features | None) -> AbstractContextManager[dict[int, Tensor]]:
        wanted = None if features is None else features.layers
        return layers_read(self.text.layers, wanted or ())

    def _check(self, inputs: dict[str, Any]) -> None:
        """Refuse what would fail deep inside the model."""
        scale = inputs.get("guidance_scale")
        guided = scale is not None and bool((scale > 1).any())
        needed = ("input_ids", "null_ids") if guided else ("input_ids",)
        for key in needed:
            if inputs.get(key) is None:
                raise ValueError(
                    f"inputs lack {key}; make them with target.prepare, or give null_ids, the "
                    "prompts of the unconditional half, for guidance above 1"
                )
            if len(inputs[key]) != len(inputs["input_ids"]):
                raise ValueError(
                    f"{key} has {len(inputs[key])} rows and input_ids {len(inputs['input_ids'])}; "
                    "every image needs one of each"
                )
        for key, name in (("input_ids", "attention_mask"), ("null_ids", "null_mask")):
            ids, mask = inputs.get(key), inputs.get(name)
            if ids is None or mask is None:
                continue
            if mask.shape != ids.shape or not bool(mask.bool().any(1).all()):
                raise ValueError(
                    f"{name} must have the shape {tuple(ids.shape)} of {key} and mark at least one "
                    f"token in every row, got shape {tuple(mask.shape)}"
                )
        device = next(self.text.parameters()).device
        if inputs["input_ids"].device != device:
            raise ValueError(
                f"input_ids are on {inputs['input_ids'].device} and the model on {device}; make "
                "the inputs with target.prepare"
            )


class ImageHead:
    """Logits of picture ids alone; every other id gets :data:`NEVER`.

    Args:
        linear: The language model's head.
        image_ids: ``(codes,)`` the ids that may be generated.
    """

    def __init__(self, linear: Any, image_ids: Tensor) -> None:
        self.linear = linear
        self.vocab_size: int = linear.weight.shape[0]
        first, last = int(image_ids.min()), int(image_ids.max())
        # Neighbouring ids are a view of the matrix: most of the vocabulary is never multiplied.
        self._span = slice(first, last + 1) if last - first + 1 == len(image_ids) else None
        self._never = torch.ones(self.vocab_size, dtype=torch.bool)
        self._never[image_ids.cpu()] = False

    def __call__(self, hidden: Tensor) -> Tensor:
        """``(..., vocab)`` float32."""
        if self._span is None:
            self._never = self._never.to(hidden.device)
            logits: Tensor = self.linear(hidden).float()
            return logits.masked_fill(self._never, NEVER)
        shape = (*hidden.shape[:-1], self.vocab_size)
        full = torch.full(shape, NEVER, dtype=torch.float32, device=hidden.device)
        full[..., self._span] = F.linear(hidden, self.linear.weight[self._span]).float()
        return full


def _halves_side_by_side(hidden: Tensor, guided: bool) -> Tensor:
    """``(2 * batch, n, width)`` as ``(batch, n, 2 * width)``; unchanged without guidance."""
    return torch.cat(hidden.chunk(2), dim=-1) if guided else hidden
