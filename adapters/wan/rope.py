"""Wan's rotation for frames that do not start at 0.

A head's channels are split into time, height and width, and neighbouring channels turn together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Rotation = tuple[Tensor, Tensor]


def frame_rotation(rope: Any, start: int, frames: int, height: int, width: int) -> Rotation:
    """Cosines and sines of frames ``start`` to ``start + frames``, ``(1, tokens, 1, head / 2)``.

    Args:
        rope: The ``rope`` of a diffusers ``WanTransformer3DModel``; its tables are read.
        start: Frames before the first.
        frames: Their number.
        height: Rows of tokens.
        width: Columns of tokens.

    Raises:
        ValueError: The tables are too short.
    """
    positions = rope.freqs_cos.shape[0]
    if start + frames > positions or max(height, width) > positions:
        raise ValueError(
            f"this model knows {positions} positions; frames {start} to {start + frames} of "
            f"{height} x {width} tokens are beyond them: load it with a larger rope_max_seq_len, "
            "or rebuild the cache from the last frames, which numbers them anew"
        )
    # Both channels of a pair turn by the same angle, so one of the two tells it.
    cosines, sines = (
        torch.cat(
            [
                time[start : start + frames, None, None].expand(-1, height, width, -1),
                rows[None, :height, None].expand(frames, -1, width, -1),
                columns[None, None, :width].expand(frames, height, -1, -1),
            ],
            dim=-1,
        ).flatten(0, 2)[None, :, None]
        for time, rows, columns in (
            _axes(rope.freqs_cos[:, 0::2]),
            _axes(rope.freqs_sin[:, 1::2]),
        )
    )
    return cosines, sines


def rotate(heads: Tensor, rotation: Rotation) -> Tensor:
    """Turn queries or keys ``(batch, tokens, heads, head)``; computed in the tables' format."""
    cosines, sines = rotation
    first, second = heads.unflatten(-1, (-1, 2)).unbind(-1)
    turned = (first * cosines - second * sines, first * sines + second * cosines)
    return torch.stack(turned, dim=-1).flatten(-2).type_as(heads)


def _axes(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A table ``(positions, head / 2)`` cut into time, height and width."""
    side = 2 * table.shape[1] // 6
    time, rows, columns = table.split((table.shape[1] - 2 * side, side, side), dim=1)
    return time, rows, columns
