"""The part of the target's vocabulary that a drafter speaks.

Draft id ``i`` is target id ``i + d2t[i]``; ``t2d`` says of every target id whether it is spoken.
"""

from __future__ import annotations

import torch
from torch import Tensor


def choose_vocabulary(counts: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The tokens that answers use most, ties by id, in ascending order of their ids.

    Args:
        counts: ``(vocab,)`` how often each token occurs in the target's answers.
        size: Tokens to choose.

    Returns:
        ``d2t``, ``(size,)`` long, and ``t2d``, ``(vocab,)`` bool.

    Raises:
        ValueError: More tokens than there are, or none.
    """
    if counts.dim() != 1 or not 1 <= size <= len(counts):
        raise ValueError(
            f"{size} tokens cannot be chosen by counts of shape {tuple(counts.shape)}: give one "
            "count a token of the target, and a size from 1 to their number"
        )
    chosen = counts.argsort(descending=True, stable=True)[:size].sort().values
    d2t = chosen - torch.arange(size, device=chosen.device)
    return d2t, spoken(d2t, len(counts))


def spoken(d2t: Tensor, vocab_size: int) -> Tensor:
    """``t2d`` of a map from draft ids to target ids.

    Raises:
        ValueError: The map leaves the target's vocabulary or is not in ascending order, as training
            with ``t2d`` alone takes for granted.
    """
    ids = d2t + torch.arange(len(d2t), device=d2t.device)
    inside = (ids >= 0) & (ids < vocab_size)
    if not bool(inside.all()) or bool((ids.diff() < 1).any()):
        raise ValueError(
            f"d2t is no ascending map of {len(d2t)} draft ids into {vocab_size} target ids: it "
            "holds offsets, target id minus draft id"
        )
    t2d = torch.zeros(vocab_size, dtype=torch.bool, device=d2t.device)
    t2d[ids] = True
    return t2d
