"""LlamaGen's transformer as a decoder, with classifier-free guidance inside."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from adapters.hf_vlm.taps import layers_read, side_by_side
from adapters.llamagen.conditioning import causal_mask, seen_columns
from adapters.llamagen.config import CLASSES
from adapters.llamagen.gpt import GPT
from mmspec.cache import RaggedCache
from mmspec.messages import Features
from mmspec.paired_cache import PairedCache
from mmspec.state import State
from mmspec.token_target import Prefilled


class LlamaGenDecoder:
    """Implements :class:`mmspec.roles.Decoder`.

    Where any row's guidance is above 1, both halves of guidance run as one batch, the rows with
    their condition first, and the logits are ``u + scale * (c - u)``. Hidden states are then twice
    as wide: conditional and unconditional side by side.

    Args:
        model: Set to eval mode, otherwise never changed.
    """

    def __init__(self, model: GPT) -> None:
        self.model = model.eval()
        config = model.config
        self.vocab_size = config.vocab_size
        self.hidden_size = config.dim
        self.num_layers = config.n_layer
        self.lead = config.cls_token_num

    @torch.no_grad()
    def prefill(self, inputs: dict[str, Any], reserve: int, features: Features | None) -> Prefilled:
        """Run the condition positions; the logits of the last one are for the first code.

        Args:
            inputs: ``input_ids`` ``(batch, T)``, placeholders whose values are not read;
                ``labels`` ``(batch,)``, or ``caption`` ``(batch, T, caption_dim)`` left-padded
                with its ``caption_mask`` ``(batch, T)`` bool; ``guidance_scale`` ``(batch,)``;
                ``cfg_interval``, the number of steps after the first code that are guided, -1
                for all.
            reserve: Slots for what follows.
            features: Hidden states to keep; ``embeds`` are those of the condition.

        Raises:
            ValueError: The condition is missing.
        """
        self._check(inputs)
        ids, lead = inputs["input_ids"], self.lead
        batch, scale = ids.shape[0], inputs.get("guidance_scale")
        guided = scale is not None and bool((scale > 1).any())
        embeds = self.model.embed_condition(inputs)
        if guided:
            null = torch.ones(batch, dtype=torch.bool, device=ids.device)
            embeds = torch.cat([embeds, self.model.embed_condition(inputs, drop=null)])
        cache = (PairedCache if guided else RaggedCache)(self.num_layers, lead + reserve)
        cache.place(0, lead, lead)
        mask = None
        if inputs.get("caption_mask") is not None:
            mask = _for_both(causal_mask(inputs["caption_mask"], lead), guided)
        positions = torch.arange(lead, device=ids.device).unsqueeze(0)
        with self._reading(features) as read:
            hidden = self.model(embeds, positions, mask, cache)
        last = torch.full((batch, 1), lead - 1, device=ids.device)
        logits = self.model.logits(hidden[:, -1:])
        if guided:
            logits = self.guide(logits, last, inputs)
        logits = logits[:, 0]
        filled = Prefilled(ids, [lead] * batch, cache, logits)
        if features is None:
            return filled
        return Prefilled(
            ids,
            [lead] * batch,
            cache,
            logits,
            hidden=_halves_side_by_side(side_by_side(read, hidden), guided),
            embeds=_halves_side_by_side(embeds, guided),
        )

    @torch.no_grad()
    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor]:
        """One pass over codes; the unconditional half gets the same ones.

        See :class:`mmspec.roles.Decoder`. Positions beyond the picture, where only nodes that
        cannot be committed stand, count as the last one.
        """
        inputs, cache = state.prompt.inputs, state.cache
        guided = isinstance(cache, PairedCache)
        if inputs.get("caption_mask") is not None:
            text = seen_columns(inputs["caption_mask"], cache.view)
            mask = text if mask is None else mask & text
        if mask is not None:
            mask = _for_both(mask, guided)
        places = _for_both(positions.clamp(max=self.model.config.positions - 1), guided)
        embeds = self.embed(tokens)
        if guided:
            embeds = embeds.repeat(2, 1, 1)
        with self._reading(state.features) as read:
            hidden = self.model(embeds, places, mask, cache)
        logits = self.model.logits(hidden)
        if guided:
            logits = self.guide(logits, positions, inputs)
        return logits, _halves_side_by_side(side_by_side(read, hidden), guided)

    def embed(self, ids: Tensor) -> Tensor:
        """Rows of the table of codes."""
        return self.model.tok_embeddings(ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits, not guided, of hidden states ``(..., dim)`` after the final norm."""
        return self.model.logits(hidden)

    def guide(self, logits: Tensor, positions: Tensor, inputs: dict[str, Any]) -> Tensor:
        """``(batch, n, vocab)`` from both halves.

        Args:
            logits: ``(2 * batch, n, vocab)``, the rows with their condition first.
            positions: ``(batch, n)`` logical positions that the logits follow.
            inputs: As prepared.
        """
        with_it, without_it = logits.chunk(2)
        scale = inputs["guidance_scale"].to(logits.dtype).view(-1, 1, 1)
        applies = scale > 1
        interval = inputs.get("cfg_interval", -1)
        if interval >= 0:
            applies = applies & (positions - self.lead <= interval).unsqueeze(-1)
        return torch.where(applies, without_it + scale * (with_it - without_it), with_it)

    def _reading(self, features: Features | None) -> AbstractContextManager[dict[int, Tensor]]:
        wanted = None if features is None else features.layers
        return layers_read(self.model.layers, wanted or ())

    def _check(self, inputs: dict[str, Any]) -> None:
        """Refuse inputs that lack the condition, or have one of the wrong size."""
        config = self.model.config
        needed = ("labels",) if config.model_type == CLASSES else ("caption", "caption_mask")
        missing = [key for key in ("input_ids", *needed) if inputs.get(key) is None]
        if missing:
            what = "classes" if config.model_type == CLASSES else "text features"
            raise ValueError(
                f"inputs lack {', '.join(missing)}; this model draws from {what}, make its inputs "
                "with target.prepare"
            )
        rows = len(inputs["input_ids"])
        shapes: dict[str, tuple[int, ...]] = {
            "input_ids": (rows, self.lead),
            "labels": (rows,),
            "caption": (rows, self.lead, config.caption_dim),
            "caption_mask": (rows, self.lead),
        }
        for key in ("input_ids", *needed):
            if tuple(inputs[key].shape) != shapes[key]:
                raise ValueError(
                    f"{key} has shape {tuple(inputs[key].shape)}; this model takes {shapes[key]}"
                )


def _for_both(values: Tensor, guided: bool) -> Tensor:
    """The same for both halves; a single row serves all rows as it is."""
    if not guided or values.shape[0] == 1:
        return values
    return values.repeat(2, *[1] * (values.ndim - 1))


def _halves_side_by_side(hidden: Tensor, guided: bool) -> Tensor:
    """``(2 * batch, n, width)`` as ``(batch, n, 2 * width)``; unchanged without guidance."""
    return torch.cat(hidden.chunk(2), dim=-1) if guided else hidden
