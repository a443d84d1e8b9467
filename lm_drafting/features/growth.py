"""Growing a dynamic tree level by level (EAGLE-2, Li et al. 2024, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmspec.distributions import take_rows
from mmspec.trees import Candidates

Expand = Callable[[int, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Level:
    """Candidates of one depth: ``(batch, n)`` each."""

    units: Tensor
    parents: Tensor
    scores: Tensor
    logs: Tensor


def grow(
    logs: Tensor,
    hidden: Tensor,
    depth: int,
    width: int,
    expand: Expand,
    to_target: Callable[[Tensor], Tensor],
) -> tuple[Candidates, Tensor]:
    """Score a pool of ``width + (depth - 1) * width**2`` candidate nodes.

    A beam of the ``width`` best nodes moves down the levels. Each of them offers its ``width`` most
    likely tokens; a node's score is the sum of log probabilities along its path, and the best
    ``width`` offers are the next beam. All offers enter the pool.

    Args:
        logs: ``(batch, vocab)`` the drafter's log probabilities after the committed prefix.
        hidden: ``(batch, 1, hidden)`` the hidden state they came from.
        depth: Levels.
        width: Beam size, and offers a node.
        expand: Maps step, tokens ``(batch, width)``, hidden states ``(batch, width, hidden)`` of
            their parents and each node's place in the previous beam to log probabilities
            ``(batch, width, vocab)`` and hidden states after the nodes.
        to_target: Maps tokens of the drafter's vocabulary to the target's.

    Returns:
        The pool, and ``(batch, pool)`` log probability of every node given its parent.
    """
    batch = logs.shape[0]
    scores, units = logs.topk(width, dim=-1)
    units = to_target(units)
    levels = [_Level(units, torch.full_like(units, -1), scores, scores)]
    size, place = width, torch.arange(width, device=units.device).expand(batch, -1)
    came, hidden = place, hidden.expand(-1, width, -1)
    for step in range(depth - 1):
        after, hidden = expand(step, units, hidden, came)
        logs, offers = after.topk(width, dim=-1)  # (batch, width, width)
        totals = (scores.unsqueeze(2) + logs).flatten(1)
        parents = place.unsqueeze(2).expand(-1, -1, width).flatten(1)
        levels.append(_Level(to_target(offers.flatten(1)), parents, totals, logs.flatten(1)))
        if step == depth - 2:
            break
        scores, best = totals.topk(width, dim=1)
        came = best // width
        units, place = levels[-1].units.gather(1, best), size + best
        hidden = take_rows(hidden, came)
        size += width * width
    pool = Candidates(
        units=torch.cat([level.units for level in levels], 1),
        parents=torch.cat([level.parents for level in levels], 1),
        scores=torch.cat([level.scores for level in levels], 1),
        depth=depth,
    )
    return pool, torch.cat([level.logs for level in levels], 1)
