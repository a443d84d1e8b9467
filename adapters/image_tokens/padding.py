"""Prompts of both halves of guidance in one batch: where each row's padding lies.

The two rows of an image hold the same picture tokens at the same slots, so their prompts must end
at the same slot: the shorter one is padded in front. Images of different prompt lengths are padded
behind, where generated tokens overwrite the padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Prompts as a decoder runs them.

    Attributes:
        ids: ``(rows, longest)``, 0 in the padding; with guidance all conditional rows come first,
            then all unconditional ones.
        pads: ``(rows,)`` padded slots in front of each row's prompt.
        lengths: Slots of each image's prompts, padding in front included.
        guided: Whether there are two rows an image.
    """

    ids: Tensor
    pads: Tensor
    lengths: list[int]
    guided: bool

    @property
    def padded(self) -> bool:
        """Whether any row is padded in front; waits for the device."""
        return bool(self.pads.any())

    @property
    def positions(self) -> Tensor:
        """``(rows, longest)`` rotary positions: a prompt begins at 0 wherever it lies."""
        steps = torch.arange(self.ids.shape[1], device=self.ids.device)
        return (steps - self.pads.unsqueeze(1)).clamp(min=0)

    @property
    def mask(self) -> Tensor:
        """``(rows, 1, longest, longest)`` bool: earlier prompt tokens, and always oneself."""
        size, device = self.ids.shape[1], self.ids.device
        past = torch.ones(size, size, dtype=torch.bool, device=device).tril()
        itself = torch.eye(size, dtype=torch.bool, device=device)
        return past & real_slots(self.pads, size) | itself


def laid_out(inputs: dict[str, Any], guided: bool) -> Layout:
    """Arrange a batch of prompts.

    Args:
        inputs: ``input_ids`` and, with guidance, ``null_ids``, each ``(batch, any length)`` with
            its mask ``attention_mask`` and ``null_mask``, padded in any way.
        guided: Whether the unconditional rows run too.
    """
    halves = [_rows(inputs["input_ids"], inputs.get("attention_mask"))]
    if guided:
        halves.append(_rows(inputs["null_ids"], inputs.get("null_mask")))
    lengths = [max(len(row) for row in rows) for rows in zip(*halves, strict=True)]
    device = inputs["input_ids"].device
    every = [row for half in halves for row in half]
    ends = lengths * len(halves)
    ids = torch.zeros(len(every), max(lengths), dtype=torch.long, device=device)
    for place, (row, end) in enumerate(zip(every, ends, strict=True)):
        ids[place, end - len(row) : end] = row
    pads = [end - len(row) for row, end in zip(every, ends, strict=True)]
    return Layout(ids, torch.tensor(pads, device=device), lengths, guided)


def prompt_slots(inputs: dict[str, Any]) -> Tensor:
    """``(batch,)`` slots of each image's guided prompts: the longer of its two."""
    counts = [
        torch.full((len(ids),), ids.shape[1], device=ids.device) if mask is None else mask.sum(1)
        for ids, mask in (
            (inputs["input_ids"], inputs.get("attention_mask")),
            (inputs["null_ids"], inputs.get("null_mask")),
        )
    ]
    return torch.maximum(counts[0], counts[1])


def real_slots(pads: Tensor, view: int) -> Tensor:
    """``(rows, 1, 1, view)`` bool, False on slots that are padded in front."""
    return (torch.arange(view, device=pads.device) >= pads.unsqueeze(1))[:, None, None]


def _rows(ids: Tensor, mask: Tensor | None) -> list[Tensor]:
    """The tokens of every row, without padding."""
    if mask is None:
        return list(ids)
    return [row[kept] for row, kept in zip(ids, mask.bool(), strict=True)]
