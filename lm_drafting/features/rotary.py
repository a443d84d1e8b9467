"""Rotary position tables, extended on demand."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_drafting.features.network import Rope


class Rotary:
    """Cosines and signed sines of consecutive positions.

    Args:
        head_dim: Width of a head.
        theta: Base of the frequencies.
    """

    def __init__(self, head_dim: int, theta: float) -> None:
        steps = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        self._inverse = theta**-steps
        self._cos = self._sin = torch.empty(0)

    def between(self, start: int, end: int, like: Tensor) -> Rope:
        """Tables ``(end - start, head_dim)`` of consecutive positions."""
        self._reach(end, like)
        return self._cos[start:end], self._sin[start:end]

    def at(self, positions: Tensor, longest: int, like: Tensor) -> Rope:
        """Tables ``(batch, 1, n, head_dim)`` at ``positions`` ``(batch, n)`` below ``longest``."""
        self._reach(longest, like)
        positions = positions.clamp(max=self._cos.shape[0] - 1)
        return self._cos[positions].unsqueeze(1), self._sin[positions].unsqueeze(1)

    def _reach(self, length: int, like: Tensor) -> None:
        known = self._cos
        if known.shape[0] >= length and known.dtype == like.dtype and known.device == like.device:
            return
        angles = torch.arange(max(2 * length, 256)).unsqueeze(1) * self._inverse
        sin = angles.sin()
        # The sign of "rotate half" is folded into the table: see `rotate`.
        self._cos = torch.cat([angles.cos()] * 2, dim=1).to(like)
        self._sin = torch.cat([-sin, sin], dim=1).to(like)


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Rotary embedding of ``(batch, heads, n, head_dim)``; halves are swapped by a roll."""
    cos, sin = rope
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
