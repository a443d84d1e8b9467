"""What a drafter is trained on: its own rollout, several steps deep, against the target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lm_drafting.eagle.head import EagleHead, Rotary
from lm_drafting.eagle.slots import attention, barred
from lm_drafting.targets import FeatureTarget
from mmspec.distributions import overlap


@dataclass(frozen=True)
class Batch:
    """Teacher-forced texts of the target, right-padded.

    Attributes:
        ids: ``(batch, length)`` prompt and answer.
        hidden: ``(batch, length, hidden)`` last hidden states of the target.
        embeds: ``(batch, length, hidden)`` input embeddings of its decoder.
        starts: ``(batch,)`` index of the first answer token.
        lengths: ``(batch,)`` prompt and answer together.
        first: Smallest of ``starts``, on the host.
        noise: Added to the hidden states the drafter reads, never to those it must predict.
    """

    ids: Tensor
    hidden: Tensor
    embeds: Tensor
    starts: Tensor
    lengths: Tensor
    first: int
    noise: Tensor | None = None

    def supervised(self, depth: int) -> Tensor:
        """``(batch, length - 1)`` pairs whose prediction counts after ``depth`` own predictions.

        Pair ``j`` predicts token ``j + 2``. While decoding, the last pair with a real hidden state
        is never before ``starts - 1``, and nothing follows the last token.
        """
        pairs = torch.arange(self.ids.shape[1] - 1, device=self.ids.device)
        begun = pairs >= (self.starts - 1 + depth).unsqueeze(1)
        return begun & (pairs <= (self.lengths - 3).unsqueeze(1))


@dataclass(frozen=True)
class Scores:
    """Loss of a batch and how well each depth did.

    Attributes:
        loss: Scalar with gradient.
        agreement: Share of supervised pairs at each depth whose best token is the text's.
        overlap: Mean ``sum min(p, q)`` at depth 0, the acceptance rate of exact rejection.
        runs: ``(batch, pairs)`` how many drafted tokens in a row, from each start, are the text's.
    """

    loss: Tensor
    agreement: Tensor
    overlap: Tensor
    runs: Tensor


def rollout(head: EagleHead, rotary: Rotary, batch: Batch, depth: int) -> list[Tensor]:
    """Predicted hidden states when the first 0, 1, ... inputs before a pair are the drafter's own.

    Pass ``m`` feeds pair ``j`` the prediction that pass ``m - 1`` made at pair ``j - 1``, with the
    text's embeddings, and lets it attend to what it would see while decoding: real pairs up to
    ``j - m``, then one own pair of each earlier pass (training-time test, EAGLE-3, Li et al. 2025).

    Returns:
        One tensor a pass, ``(batch, pairs, hidden)``; later passes hold zeros where no answer is.
    """
    embeds, hidden = batch.embeds[:, 1:], batch.hidden[:, :-1]
    if batch.noise is not None:
        hidden = hidden + batch.noise[:, :-1]
    count, first = hidden.shape[1], max(batch.first - 1, 1)
    rope = rotary.between(0, count, hidden)
    keys: list[Tensor] = []
    values: list[Tensor] = []
    mask: Tensor | None = None

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys.append(k)
        values.append(v)
        return attention(q, torch.cat(keys, 2), torch.cat(values, 2), mask, is_causal=mask is None)

    predicted = [head(torch.cat([embeds, hidden], -1), rope, attend)]
    late = (rope[0][first:], rope[1][first:])
    own = predicted[0][:, first - 1 : -1]
    for step in range(1, depth):
        mask = _seen(count, first, step, hidden)
        out = head(torch.cat([embeds[:, first:], own], -1), late, attend)
        predicted.append(F.pad(out, (0, 0, first, 0)))
        own = F.pad(out[:, :-1], (0, 0, 1, 0))
    return predicted


def score(
    head: EagleHead,
    rotary: Rotary,
    target: FeatureTarget,
    batch: Batch,
    *,
    depth: int,
    feature_weight: float = 1.0,
    logit_weight: float = 1.0,
    decay: float = 1.0,
) -> Scores:
    """EAGLE-1's loss on every pass of the rollout.

    ``feature_weight * SmoothL1(f, h) + logit_weight * H(p, q)`` (Li et al. 2024, section 4), where
    ``p`` and ``q`` are the head's laws on the target's and the predicted hidden state; pass ``m``
    counts ``decay ** m``.
    """
    kept = batch.supervised(0)
    wanted = batch.hidden[:, 1:][kept]  # (supervised, hidden)
    with torch.no_grad():
        dtype = target.embed(batch.ids[:1, :1]).dtype
        p = target.head(wanted.to(dtype)).float().softmax(-1)
    text = batch.ids[:, 1:].roll(-1, 1)[kept]
    predictions = rollout(head, rotary, batch, depth)
    total, agreement, right = p.new_zeros(()), [], []
    shared = total
    for step, prediction in enumerate(predictions):
        chosen = prediction[kept]
        logs = target.head(chosen.to(dtype)).float().log_softmax(-1)
        counted = batch.supervised(step)[kept].float()
        share = counted / counted.sum().clamp(min=1)
        regression = F.smooth_l1_loss(chosen.float(), wanted.float(), reduction="none").mean(-1)
        entropy = -(p * logs).sum(-1)
        total = (
            total
            + decay**step * (share * (feature_weight * regression + logit_weight * entropy)).sum()
        )
        hit = logs.argmax(-1) == text
        agreement.append((share * hit).sum())
        right.append(torch.zeros_like(kept).masked_scatter(kept, hit))
        if step == 0:
            shared = (share * overlap(p, logs.detach().exp())).sum()
    return Scores(total, torch.stack(agreement), shared, _runs(right, batch))


def rounds(scores: Scores, batch: Batch) -> list[int]:
    """Drafted tokens accepted in every round of decoding the batch's texts with greedy chains.

    Exact for greedy answers: along an accepted chain the drafted tokens are the text's, so the
    rollout saw what decoding would have seen.
    """
    accepted = []
    ends = (batch.lengths - 2).tolist()
    for runs, start, end in zip(scores.runs.tolist(), batch.starts.tolist(), ends, strict=True):
        place = start - 1
        while place < end:
            accepted.append(runs[place])
            place += runs[place] + 1
    return accepted


def _runs(right: list[Tensor], batch: Batch) -> Tensor:
    """From "right at depth d" per pair to "right in a row" per start."""
    alive = torch.ones_like(right[0])
    runs = torch.zeros_like(right[0], dtype=torch.long)
    for depth, hits in enumerate(right):
        # The start of pair j at this depth is j - depth: bring both to the start's place.
        alive = alive & (hits & batch.supervised(depth)).roll(-depth, 1)
        runs += alive
    return runs


def _seen(count: int, first: int, step: int, like: Tensor) -> Tensor:
    """Who sees whom in pass ``step``: ``(1, 1, count - first, count + step * (count - first))``."""
    pairs = torch.arange(first, count, device=like.device).unsqueeze(1)
    real = torch.arange(count, device=like.device) <= pairs - step
    later = torch.arange(first, count, device=like.device)
    own = [later == pairs - step + back for back in range(1, step + 1)]
    return barred(torch.cat([real, *own], 1), like).view(1, 1, count - first, -1)
