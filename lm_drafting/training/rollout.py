"""A drafter's own rollout over a text, several steps deep, in a few parallel passes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lm_drafting.features.network import DraftNetwork
from lm_drafting.features.rotary import Rotary
from lm_drafting.features.slots import attention, barred
from lm_drafting.training.batch import Lesson


def rollout(network: DraftNetwork, rotary: Rotary, lesson: Lesson, depth: int) -> list[Tensor]:
    """Predicted hidden states when the last 0, 1, ... hidden states were the drafter's own.

    A network of one step is fed back: pass ``m`` gives slot ``s`` the prediction that pass
    ``m - 1`` made at slot ``s - 1``, with the text's embeddings, and lets it attend to what it
    would see while decoding: real rows up to ``s - m``, then one own row of each earlier pass
    (training-time test, EAGLE-3, Li et al. 2025; self-rollout, ViSpec, Kang et al. 2025). A network
    of several steps says all of them in one pass, and head ``m`` of slot ``s - m`` is brought to
    slot ``s``.

    Returns:
        One tensor a depth, ``(batch, n, hidden)``; fewer than ``depth`` where the network has fewer
        steps. Deeper ones hold zeros where no answer is.
    """
    rows, count = lesson.rows, lesson.rows.shape[1]
    rope = _rope(rotary, lesson)
    keys: list[Tensor] = []
    values: list[Tensor] = []
    mask: Tensor | None = None

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys.append(k)
        values.append(v)
        return attention(q, torch.cat(keys, 2), torch.cat(values, 2), mask, is_causal=mask is None)

    out = network(rows, rope, attend)
    if network.steps > 1:
        heads = out.unflatten(-1, (network.steps, -1)).unbind(2)
        return [F.pad(head, (0, 0, m, -m)) for m, head in enumerate(heads[:depth])]
    predicted, first = [out], max(lesson.first - 1, 1)
    late = (rope[0][..., first:, :], rope[1][..., first:, :])
    summary = None
    if lesson.summary is not None:
        summary = lesson.summary.unsqueeze(1).expand(-1, count - first, -1)
    own = out[:, first - 1 : -1]
    for step in range(1, depth):
        mask = _seen(count, first, step, rows)
        out = network(network.fuse_own(lesson.embeds[:, first:], own, summary), late, attend)
        predicted.append(F.pad(out, (0, 0, first, 0)))
        own = F.pad(out[:, :-1], (0, 0, 1, 0))
    return predicted


def _rope(rotary: Rotary, lesson: Lesson) -> tuple[Tensor, Tensor]:
    if lesson.positions is None:
        return rotary.between(0, lesson.rows.shape[1], lesson.rows)
    return rotary.at(lesson.positions, lesson.longest, lesson.rows)


def _seen(count: int, first: int, step: int, like: Tensor) -> Tensor:
    """Who sees whom in pass ``step``: ``(1, 1, count - first, count + step * (count - first))``."""
    slots = torch.arange(first, count, device=like.device).unsqueeze(1)
    real = torch.arange(count, device=like.device) <= slots - step
    later = torch.arange(first, count, device=like.device)
    own = [later == slots - step + back for back in range(1, step + 1)]
    return barred(torch.cat([real, *own], 1), like).view(1, 1, count - first, -1)
