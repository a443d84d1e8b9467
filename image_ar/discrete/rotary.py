"""Rotary positions: of cells, rows on one half of the pairs and columns on the other; of lines."""

from __future__ import annotations

import torch
from torch import Tensor


def rotations(
    grid: int,
    head_dim: int,
    lead: int,
    base: float = 10000.0,
    device: torch.device | str = "cpu",
    lead_factor: float = 0.0,
) -> Tensor:
    """The factor that every pair of channels is multiplied by, at every position.

    Channels ``2j`` and ``2j + 1`` are the real and imaginary part of a complex number. At cell
    ``(r, c)`` the first half of the pairs turns by ``r * base^(-4j / head_dim)`` and the second
    half by ``c`` times the same frequencies. The factors of the ``lead`` condition positions are
    **zero** in the released models, not one: a condition's query and key vanish, its score is 0
    for every token that sees it, and only its value counts. With ``lead_factor=1`` the condition
    is not turned, and a cell can look for the one word that it needs.

    Args:
        grid: Rows and columns of image tokens.
        head_dim: Channels of a head, a multiple of 4.
        lead: Condition positions before the image.
        base: Base of the frequencies.
        device: Where to put the table.
        lead_factor: Factor of the condition positions.

    Returns:
        ``(lead + grid^2, head_dim / 2)`` complex64.
    """
    quarter = head_dim // 4
    steps = torch.arange(quarter, dtype=torch.float32, device=device)
    frequency = 1.0 / base ** (steps * 4 / head_dim)
    turn = torch.arange(grid, dtype=torch.float32, device=device).unsqueeze(1) * frequency
    row = turn.unsqueeze(1).expand(grid, grid, quarter)
    column = turn.unsqueeze(0).expand(grid, grid, quarter)
    angle = torch.cat([row, column], dim=-1).reshape(grid * grid, 2 * quarter)
    image = torch.polar(torch.ones_like(angle), angle)
    return torch.cat([image.new_full((lead, 2 * quarter), lead_factor), image])


def sequence_rotations(positions: Tensor, head_dim: int, base: float = 10000.0) -> Tensor:
    """The factors of tokens that lie in a line: pair ``j`` turns by ``t * base^(-2j / head_dim)``.

    Args:
        positions: ``(...)`` position ``t`` of every token.
        head_dim: Channels of a head, even.
        base: Base of the frequencies.

    Returns:
        ``(..., head_dim / 2)`` complex64.
    """
    steps = torch.arange(head_dim // 2, dtype=torch.float32, device=positions.device)
    angle = positions.float().unsqueeze(-1) * (1.0 / base ** (steps * 2 / head_dim))
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, factors: Tensor) -> Tensor:
    """Multiply every pair of channels by its factor, in float32.

    Args:
        x: ``(rows, n, heads, head_dim)``.
        factors: ``(rows or 1, n, 1, head_dim / 2)`` complex64.

    Returns:
        As ``x``, in its number format.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * factors).flatten(-2).to(x.dtype)
