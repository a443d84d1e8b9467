"""An unmodified transformers model as a decoder: any tokens, at any slots, under any mask."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from adapters.hf_vlm.head import Head
from adapters.hf_vlm.layout import right_padded
from adapters.hf_vlm.masks import additive, within_window
from adapters.hf_vlm.probe import probe
from adapters.hf_vlm.rope import AXES, prompt_positions
from adapters.hf_vlm.support import (
    check_model,
    layer_kinds,
    needs_probe,
    placeholder_ids,
    window_of,
)
from adapters.hf_vlm.taps import decoder_layers, embeddings_read, layers_read, side_by_side
from mmspec.cache import RaggedCache
from mmspec.messages import Features
from mmspec.state import State
from mmspec.token_target import Prefilled

PIXELS = ("pixel_values", "pixel_values_videos")


class HFDecoder:
    """Implements :class:`mmspec.roles.Decoder` for decoder-only transformers models.

    Prompts go through the multimodal model once; every later pass goes straight to its text
    decoder.

    Args:
        model: A loaded model; set to eval mode, otherwise never changed.

    Attributes:
        accepted: Names of the inputs that prefill takes.

    Raises:
        ValueError: A model that cannot verify drafts, with the reason.
    """

    def __init__(self, model: Any) -> None:
        check_model(model)
        self.model = model.eval()
        self.head = Head(model)
        self._base = model.base_model
        self._text = model.get_decoder()
        config = self._text.config
        self.vocab_size = self.head.vocab_size
        self.hidden_size: int = config.hidden_size
        self.num_layers: int = config.num_hidden_layers
        self._layers = decoder_layers(self._text, self.num_layers)
        self._kinds = layer_kinds(config)
        self._window = window_of(config)
        self._axes = AXES if hasattr(self._base, "get_rope_index") else 1
        self._dtype: torch.dtype = self._text.dtype
        self._placeholders = placeholder_ids(model.config)
        self._pad_id = min(set(range(len(self._placeholders) + 1)) - self._placeholders.keys())
        self.accepted = set(inspect.signature(self._base.forward).parameters) - {"kwargs"}
        if needs_probe(model):
            probe(self)

    # Not inference mode: what a caller outside the engine collects may enter a training step.
    @torch.no_grad()
    def prefill(self, inputs: dict[str, Any], reserve: int, features: Features | None) -> Prefilled:
        """Read prompts padded on either side; see :class:`mmspec.roles.Decoder`.

        Raises:
            ValueError: Inputs the model does not take, with the fix.
        """
        self._check(inputs)
        rows, lengths = right_padded(inputs, self._pad_id)
        ids = rows["input_ids"]
        cache = RaggedCache(self.num_layers, ids.shape[1] + reserve)
        cache.place(0, ids.shape[1], ids.shape[1])
        offset = None
        if self._axes > 1:
            rows = self._with_token_types(rows)
            rows["position_ids"], offset = prompt_positions(self._base, rows, lengths)
        with embeddings_read(self._text) as embeds, self._reading(features) as read:
            hidden = self._base(
                **self._cast(rows), past_key_values=cache, use_cache=True
            ).last_hidden_state
        last = torch.tensor(lengths, device=ids.device) - 1
        logits = self.head(hidden[torch.arange(len(lengths), device=ids.device), last])
        if features is None:
            return Prefilled(ids, lengths, cache, logits, offset)
        return Prefilled(
            ids,
            lengths,
            cache,
            logits,
            offset,
            hidden=side_by_side(read, hidden),
            embeds=embeds[0] if embeds else self.embed(ids),
        )

    @torch.no_grad()
    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor]:
        """One pass of the text decoder; see :class:`mmspec.roles.Decoder`."""
        attention = self._attention(mask, positions, state.cache)
        if state.rope_offset is not None:
            positions = positions + state.rope_offset
        if self._axes > 1:
            positions = positions.expand(self._axes, -1, -1)
        with self._reading(state.features) as read:
            hidden = self._text(
                input_ids=tokens,
                position_ids=positions,
                attention_mask=attention,
                past_key_values=state.cache,
                use_cache=True,
            ).last_hidden_state
        return self.head(hidden), side_by_side(read, hidden)

    def embed(self, ids: Tensor) -> Tensor:
        """Rows of the input embedding table, scaled as the model scales them."""
        return self.model.get_input_embeddings()(ids)

    def _reading(self, features: Features | None) -> AbstractContextManager[dict[int, Tensor]]:
        """Catch the inputs of the layers asked for, by layer."""
        wanted = None if features is None else features.layers
        return layers_read(self._layers, wanted or ())

    def _attention(
        self, mask: Tensor | None, positions: Tensor, cache: RaggedCache
    ) -> Tensor | dict[str, Tensor | None] | None:
        """The mask of every kind of layer, made once a pass."""
        batch = positions.shape[0]
        made: dict[str, Tensor | None] = {}
        for kind in self._kinds:
            seen = mask
            if kind == "sliding_attention":
                seen = within_window(mask, positions, cache, self._window)
            made[kind] = None if seen is None else additive(seen, batch, self._dtype)
        return made if len(made) > 1 else made[self._kinds[0]]

    def _check(self, inputs: dict[str, Any]) -> None:
        """Refuse what the model would ignore or trip over."""
        if inputs.get("input_ids") is None:
            raise ValueError("inputs need input_ids; embeddings alone cannot be drafted from")
        given = {key for key, value in inputs.items() if value is not None}
        if unknown := given - self.accepted - {"attention_mask"}:
            raise ValueError(
                f"{self.model.config.model_type} does not take {sorted(unknown)}; it takes "
                f"{sorted(self.accepted)}"
            )
        device = self._text.device
        for key in given:
            if isinstance(inputs[key], Tensor) and inputs[key].device != device:
                raise ValueError(
                    f"{key} is on {inputs[key].device} and the model on {device}; "
                    f"move the inputs: inputs.to('{device}')"
                )
        if given.isdisjoint(PIXELS) and not inputs.get("mm_encoder_outputs"):
            for token, kind in self._placeholders.items():
                if bool((inputs["input_ids"] == token).any()):
                    raise ValueError(
                        f"input_ids hold the {kind} placeholder {token} and there are no pixels; "
                        f"pass what the processor returned beside the ids, or remove the token"
                    )

    def _with_token_types(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Fill ``mm_token_type_ids`` from the placeholders where the caller left them out."""
        rows = dict(rows)
        if rows.get("mm_token_type_ids") is None:
            ids = rows["input_ids"]
            types = torch.zeros_like(ids)
            for token, kind in self._placeholders.items():
                types.masked_fill_(ids == token, {"image": 1, "video": 2}[kind])
            rows["mm_token_type_ids"] = types
        return rows

    def _cast(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Pixels in the model's dtype; processors return float32."""
        return {
            key: value.to(self._dtype)
            if key.startswith("pixel_values") and value is not None
            else value
            for key, value in rows.items()
        }
