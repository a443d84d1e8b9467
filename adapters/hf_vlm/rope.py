"""Rotary positions of prompts for models that number tokens on three axes (M-RoPE)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adapters.hf_vlm.layout import row_mask

AXES = 3  # time, height, width


def prompt_positions(
    base: Any, inputs: dict[str, Any], lengths: list[int]
) -> tuple[Tensor, Tensor]:
    """Rotary positions of right-padded prompts and of what follows them.

    Computed per request from the model's own rule and handed to it, so that nothing is remembered
    on the model between requests.

    Args:
        base: The multimodal model with ``get_rope_index``.
        inputs: Right-padded inputs; ``position_ids`` in them are taken as they are.
        lengths: Prompt length of every row.

    Returns:
        Positions ``(3, batch, longest)`` and the offset ``(batch, 1)`` of generated tokens: rotary
        minus logical position.
    """
    ids = inputs["input_ids"]
    real = row_mask(lengths, ids.device)
    given = inputs.get("position_ids")
    has_vision = (
        inputs.get("image_grid_thw") is not None or inputs.get("video_grid_thw") is not None
    )
    if given is not None:
        # `generate` puts the text positions in front of the three axes.
        positions = given[-AXES:]
    elif has_vision:
        positions, _ = base.get_rope_index(
            **{key: value for key, value in inputs.items() if key != "mm_encoder_outputs"},
            attention_mask=real.long(),
        )
    else:
        positions = torch.arange(ids.shape[1], device=ids.device).expand(AXES, *ids.shape)
    largest = positions.masked_fill(~real, -1).amax(dim=(0, 2))
    offset = largest + 1 - torch.tensor(lengths, device=ids.device)
    return positions, offset.unsqueeze(1)
