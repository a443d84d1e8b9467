"""In which order, in how many steps and with what guidance MAR fills a picture.

Source: Li et al. 2024 (arXiv 2406.11838), section 4; the cosine schedule is MaskGIT's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CONSTANT, LINEAR = "constant", "linear"


def cosine_sizes(cells: int, steps: int) -> list[int]:
    """Tokens that each step reveals.

    After step ``s`` (from 0) of ``K``, ``floor(cells * cos(pi/2 * (s + 1) / K))`` tokens are left
    unknown, but at least one and at least one fewer than before; the last step reveals the rest.

    Args:
        cells: Tokens of a picture.
        steps: Steps, at most one a token.

    Returns:
        ``steps`` numbers, each at least 1, whose sum is ``cells``.

    Raises:
        ValueError: ``steps`` is below 1 or above ``cells``.
    """
    if not 1 <= steps <= cells:
        raise ValueError(
            f"steps must be between 1 and the {cells} tokens of a picture, got {steps}"
        )
    sizes, unknown = [], cells
    for step in range(1, steps):
        left = max(1, min(unknown - 1, math.floor(cells * math.cos(math.pi / 2 * step / steps))))
        sizes.append(unknown - left)
        unknown = left
    return [*sizes, unknown]


def random_orders(uniforms: Tensor) -> Tensor:
    """A permutation of the cells for every row, uniform over all of them.

    Tokens are revealed from the end of a permutation towards its start.

    Args:
        uniforms: ``(rows, cells)`` independent numbers; a row's permutation depends on its own
            only.

    Returns:
        ``(rows, cells)`` long.
    """
    return uniforms.argsort(dim=1)


def unknown_after(orders: Tensor, left: int | Tensor) -> Tensor:
    """Which tokens are unknown while ``left`` of them are.

    Args:
        orders: ``(rows, cells)`` permutations.
        left: How many, one number or ``(rows,)``.

    Returns:
        ``(rows, cells)`` bool, True where unknown: the first ``left`` entries of the order.
    """
    ranks = torch.arange(orders.shape[1], device=orders.device)
    counts = torch.as_tensor(left, device=orders.device).view(-1, 1)
    early = (ranks < counts).expand(orders.shape)
    return torch.zeros_like(early).scatter(1, orders, early)


def guidance_scale(
    schedule: str, scale: float | Tensor, unknown_left: int | Tensor, cells: int
) -> Tensor:
    """Guidance scale of a step.

    Args:
        schedule: ``constant``: ``scale`` itself; ``linear``: from 1 towards ``scale`` with the
            share known after the step, ``1 + (scale - 1) * (cells - left) / cells``.
        scale: One number or ``(rows,)``.
        unknown_left: Tokens still unknown after the step, one number or ``(rows,)``.
        cells: Tokens of a picture.

    Returns:
        A number or ``(rows,)``, as a tensor.

    Raises:
        ValueError: No such schedule.
    """
    left, full = (
        torch.as_tensor(unknown_left),
        torch.as_tensor(scale, dtype=torch.get_default_dtype()),
    )
    if schedule == CONSTANT:
        return full.expand(torch.broadcast_shapes(full.shape, left.shape))
    if schedule == LINEAR:
        return 1 + (full - 1) * ((cells - left) / cells)
    raise ValueError(f"schedule must be 'constant' or 'linear', got {schedule!r}")
