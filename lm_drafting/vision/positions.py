"""Where the rows that stand for a run lie within it: offsets from its first position."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lm_drafting.vision.compressor import Grid

Positions = Literal["covered", "tail"]
Stride = tuple[int, int]


def covered(grid: Grid, stride: Stride, device: torch.device | None = None) -> Tensor:
    """``(cells,)`` offset of the middle token of every cell, one frame after the other.

    Cells at the right and lower border may be cut. Where no token lies in the middle of a side, it
    is the one before.

    Args:
        grid: Frames, rows and columns of the run.
        stride: Rows and columns of a cell.
        device: Where the offsets are needed.
    """
    frames, rows, columns = grid
    middles = []
    for size, step in ((rows, stride[0]), (columns, stride[1])):
        first = torch.arange(0, size, step, device=device)
        last = (first + step - 1).clamp(max=size - 1)
        middles.append((first + last) // 2)
    down, across = middles
    frame = torch.arange(frames, device=device) * (rows * columns)
    return (frame.view(-1, 1, 1) + down.unsqueeze(1) * columns + across).flatten()


def tail(tokens: int, kept: int, device: torch.device | None = None) -> Tensor:
    """``(kept,)`` last offsets of a run, next to the text behind it (ViSpec, arXiv 2509.15235).

    Raises:
        ValueError: There are more rows than tokens.
    """
    require_room(tokens, kept)
    return torch.arange(tokens - kept, tokens, device=device)


def require_room(tokens: int, kept: int) -> None:
    """Refuse more rows than tokens: they would take positions of the text before the picture.

    Raises:
        ValueError: There are more rows than tokens.
    """
    if kept > tokens:
        raise ValueError(
            f"a picture of {tokens} visual tokens has no place for the {kept} rows of its "
            "compressor: use a compressor with fewer queries, one with a ratio (prune, pool, conv),"
            " or larger pictures"
        )
