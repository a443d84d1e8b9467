"""Gradient for a choice that leaves values as they are."""

from __future__ import annotations

from torch import Tensor


def straight_through(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows``, bit for bit, whose gradient also reaches ``weight`` as if they were multiplied.

    Args:
        rows: What was chosen.
        weight: Soft weight of the choice, finite; any shape that broadcasts to ``rows``.
    """
    # The difference is exactly zero, so the factor is exactly one.
    return rows * (1 + (weight - weight.detach())).to(rows.dtype)
