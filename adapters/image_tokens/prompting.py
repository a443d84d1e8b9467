"""Inputs of a guided decoder from token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def guided_inputs(
    rows: Sequence[Sequence[int]],
    null_rows: Sequence[Sequence[int]],
    guidance_scale: float,
    cfg_interval: int = -1,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """The decoder's inputs.

    Args:
        rows: Prompt ids of every image, its image start included.
        null_rows: Those of its unconditional half.
        guidance_scale: Strength of classifier-free guidance; 1 or less is none.
        cfg_interval: Guided steps after the first code; -1 guides all.
        device: Where the decoder is.

    Returns:
        ``input_ids``, ``attention_mask``, ``null_ids``, ``null_mask`` (left-padded),
        ``guidance_scale`` ``(batch,)`` and ``cfg_interval``.

    Raises:
        ValueError: An empty prompt, or another number of unconditional ones.
    """
    if len(rows) != len(null_rows):
        raise ValueError(f"{len(rows)} prompts and {len(null_rows)} unconditional ones were given")
    ids, mask = _padded(rows, device)
    null_ids, null_mask = _padded(null_rows, device)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "null_ids": null_ids,
        "null_mask": null_mask,
        "guidance_scale": torch.full((len(rows),), float(guidance_scale), device=device),
        "cfg_interval": cfg_interval,
    }


def only_prompts(prompts: Sequence[str] | None, family: str) -> list[str]:
    """The prompts, stripped.

    Raises:
        ValueError: Classes were given, or a prompt is empty.
    """
    if prompts is None:
        raise ValueError(f"{family} draws prompts and knows no classes; give prompts")
    texts = [text.strip() for text in prompts]
    for place, text in enumerate(texts):
        if not text:
            raise ValueError(f"prompt {place} is empty; say what to draw")
    return texts


def _padded(rows: Sequence[Sequence[int]], device: torch.device | str) -> tuple[Tensor, Tensor]:
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        if not row:
            raise ValueError(f"prompt {place} has no tokens; every prompt needs at least one")
        ids[place, longest - len(row) :] = torch.tensor(list(row))
        mask[place, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)
