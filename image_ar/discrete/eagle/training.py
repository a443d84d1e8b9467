"""What the drafter learns from: its own predictions, several depths deep, against the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from image_ar.discrete.eagle.network import ImageEagle
from mmspec.cache import RaggedCache

Head = Callable[[Tensor], Tensor]


class _Depths:
    """Stands in for a cache: keys and values of every depth of a rollout, side by side."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def store(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self._keys.append(keys)
        self._values.append(values)
        return torch.cat(self._keys, 2), torch.cat(self._values, 2)


def rollout(
    network: ImageEagle,
    embeds: Tensor,
    features: Tensor,
    positions: Tensor,
    depth: int,
    seen: Tensor | None = None,
) -> list[Tensor]:
    """Outputs of the network at every row, fed its own predictions ever deeper.

    Depth 0 reads the target's hidden states. At depth ``d`` a row reads the output of depth
    ``d - 1`` at the row before it, and looks at what it would see when drafting: rows with true
    hidden states up to ``d`` rows back, then one row of every depth between (HASS, Zhang et al.
    2024; EAGLE-3's training-time test).

    Args:
        network: Trained; gradients flow through all depths.
        embeds: ``(batch, n, hidden)`` embeddings of the tokens.
        features: ``(batch, n, hidden)`` the target's hidden states one position before.
        positions: ``(1, n)`` positions of the tokens in the target's sequence.
        depth: Depths, 1 or more.
        seen: ``(batch, n)`` bool, False on rows of padding; None where there is none.

    Returns:
        One ``(batch, n, hidden)`` a depth; the first ``d`` rows of depth ``d`` mean nothing.
    """
    rows = embeds.shape[1]
    steps = torch.arange(rows, device=embeds.device)
    gap = steps.unsqueeze(1) - steps
    cache = _Depths()
    outputs: list[Tensor] = []
    for level in range(depth):
        if level:
            shifted = torch.cat([features[:, :1], outputs[-1][:, :-1]], 1)
        blocks = [gap >= level, *(gap == level - i for i in range(1, level + 1))]
        mask = torch.cat(blocks, 1).view(1, 1, rows, -1)
        if seen is not None:
            itself = torch.eye(rows, dtype=torch.bool, device=seen.device).repeat(1, level + 1)
            mask = mask & (seen.repeat(1, level + 1)[:, None, None] | itself)
        given = shifted if level else features
        outputs.append(network(embeds, given, positions, mask, cast(RaggedCache, cache)))
    return outputs


def loss(
    outputs: list[Tensor],
    truth: Tensor,
    head: Head,
    counted: Tensor,
    feature_weight: float = 1.0,
    decay: float = 0.8,
    at_once: int = 2**20,
) -> tuple[Tensor, Tensor]:
    """Regression on the target's hidden states and cross-entropy against its laws.

    Args:
        outputs: Of :func:`rollout`.
        truth: ``(batch, n, hidden)`` the target's hidden states at the rows' own positions.
        head: The target's hidden states ``(..., hidden)`` to logits ``(..., vocab)``.
        counted: ``(depth, batch, n)`` bool, the rows that count at each depth, each depth's among
            those of the one before.
        feature_weight: Weight of the regression relative to the cross-entropy.
        decay: Weight of a depth relative to the one before.
        at_once: Rows whose logits are held at a time; where there are more, they are made a second
            time for the gradient.

    Returns:
        The loss, and per depth the mean overlap ``sum min(p, q)`` of the two laws, which is the
        chance of exact acceptance.
    """
    where = counted[0]
    given = torch.stack([out[where] for out in outputs])
    truth, weights = truth[where], counted[:, where].to(truth.dtype)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    entropy, overlap = truth.new_zeros(2, len(outputs))
    for start in range(0, len(truth), at_once):
        part = slice(start, start + at_once)
        some = (given[:, part], truth[part], weights[:, part], head)
        if len(truth) > at_once:
            more = checkpoint(_judged, *some, use_reentrant=False)
        else:
            more = _judged(*some)
        entropy, overlap = entropy + more[0], overlap + more[1]
    distance = F.smooth_l1_loss(given, truth.expand_as(given), reduction="none").mean(-1)
    terms = entropy + feature_weight * (distance * weights).sum(1)
    scale = decay ** torch.arange(len(outputs), device=truth.device)
    return (scale * terms).sum(), overlap.detach()


def _judged(given: Tensor, truth: Tensor, weights: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy and overlap of each depth, ``(depth,)`` each.

    Args:
        given: ``(depth, n, hidden)``.
        truth: ``(n, hidden)``.
        weights: ``(depth, n)``.
        head: Hidden states to logits.
    """
    with torch.no_grad():
        law = head(truth).float().softmax(-1)
    entropy, overlap = [], []
    for out, weight in zip(given, weights, strict=True):
        logs = head(out).float().log_softmax(-1)
        entropy.append(-(weight * (law * logs).sum(-1)).sum())
        overlap.append((weight * torch.minimum(law, logs.detach().exp()).sum(-1)).sum())
    return torch.stack(entropy), torch.stack(overlap)
