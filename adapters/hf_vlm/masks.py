"""From "who may look at whom" to the masks transformers' attention takes."""

from __future__ import annotations

import torch
from torch import Tensor

from mmspec.cache import RaggedCache


def additive(mask: Tensor, batch: int, dtype: torch.dtype) -> Tensor:
    """A bool mask ``(batch or 1, 1, n, view)`` as the number added to attention scores."""
    floor = torch.finfo(dtype).min
    scores = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, floor)
    return scores.expand(batch, -1, -1, -1)


def within_window(
    mask: Tensor | None, positions: Tensor, cache: RaggedCache, window: int
) -> Tensor | None:
    """The same mask for a layer that sees the last ``window`` tokens only.

    The window is counted in logical positions: two siblings of a tree stand in different slots at
    the same position, and a node's distance to the prefix is its depth, not its slot.

    Args:
        mask: ``(batch or 1, 1, n, view)`` bool, or None where everything in view may be seen.
        positions: ``(batch, n)`` logical positions of the tokens being run.
        cache: Knows the slots they are written to.
        window: Tokens a layer sees, the token itself included.

    Returns:
        A bool mask, or ``mask`` itself while the view is no wider than the window.
    """
    if cache.view <= window:
        return mask
    batch, device = positions.shape[0], positions.device
    keys = torch.arange(cache.view, device=device).expand(batch, -1)
    keys = keys.scatter(1, cache.slots(batch, device), positions)
    near = (positions.unsqueeze(2) - keys.unsqueeze(1) < window).unsqueeze(1)
    return near if mask is None else mask & near
