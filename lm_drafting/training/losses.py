"""What a drafter is trained on: its own rollout against the target's hidden states and laws."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lm_drafting.features.network import DraftNetwork
from lm_drafting.features.rotary import Rotary
from lm_drafting.targets import FeatureTarget
from lm_drafting.training.batch import Batch, Lesson, lesson
from lm_drafting.training.rollout import rollout
from mmspec.distributions import overlap

RANKED = 10  # places of the target's ranking that ListMLE looks at (ViSpec)


@dataclass(frozen=True)
class Objective:
    """Weights of the terms; each method is a choice of them.

    Attributes:
        feature: SmoothL1 between predicted and true hidden state (EAGLE, Li et al. 2024).
        entropy: Cross-entropy of the drafter's law against the target's.
        distance: ``sum |q - p|``, twice the total variation (ViSpec, Kang et al. 2025).
        ranking: ListMLE over the target's ten best tokens (ViSpec).
        tokens: Expected share of visual tokens that an elastic compressor keeps.
        decay: Weight of a depth of the rollout relative to the one before.
    """

    feature: float = 1.0
    entropy: float = 1.0
    distance: float = 0.0
    ranking: float = 0.0
    tokens: float = 0.0
    decay: float = 1.0


@dataclass(frozen=True)
class Scores:
    """Loss of a batch and how well each depth did.

    Attributes:
        loss: Scalar with gradient.
        agreement: Share of supervised slots at each depth whose best token is the text's.
        overlap: Mean ``sum min(p, q)`` at depth 0, the acceptance rate of exact rejection.
        runs: ``(batch, n)`` how many drafted tokens in a row, from each start, are the text's.
        lesson: What was scored.
    """

    loss: Tensor
    agreement: Tensor
    overlap: Tensor
    runs: Tensor
    lesson: Lesson


def score(
    network: DraftNetwork,
    rotary: Rotary,
    target: FeatureTarget,
    batch: Batch,
    objective: Objective,
    depth: int,
) -> Scores:
    """The objective, summed over the depths of the rollout and averaged over supervised slots."""
    taught = lesson(network, batch)
    kept = taught.supervised(0)
    wanted = taught.wanted[kept]  # (supervised, hidden)
    with torch.no_grad():
        dtype = target.embed(batch.ids[:1, :1]).dtype
        p, known = network.narrow(target.head(wanted.to(dtype)).float())
    text = taught.text[kept]
    total, agreement, right = p.new_zeros(()), [], []
    shared = total
    for step, prediction in enumerate(rollout(network, rotary, taught, depth)):
        chosen = prediction[kept]
        logits = network.logits(chosen.to(dtype), target).float()
        logs = logits.log_softmax(-1)
        counted = taught.supervised(step)[kept].float()
        share = counted / counted.sum().clamp(min=1)
        loss = _token_losses(objective, chosen.float(), wanted.float(), p, logits, known)
        total = total + objective.decay**step * (share * loss).sum()
        hit = network.to_target(logs.argmax(-1)) == text
        agreement.append((share * hit).sum())
        right.append(torch.zeros_like(kept).masked_scatter(kept, hit))
        if step == 0:
            shared = (share * overlap(p, logs.detach().exp())).sum()
    if objective.tokens and taught.cost is not None:
        total = total + objective.tokens * taught.cost
    return Scores(total, torch.stack(agreement), shared, _runs(right, taught), taught)


def list_mle(logits: Tensor, p: Tensor, places: int = RANKED) -> Tensor:
    """Negative log-likelihood ``(...)`` of the target's ranking under the drafter's logits.

    The drafter names the target's ``places`` best tokens in order, each drawn by softmax from those
    not named yet (Plackett and Luce): ``sum_r logsumexp_{s >= r} z(y_s) - z(y_r)``.
    """
    best = p.topk(min(places, p.shape[-1]), dim=-1).indices
    z = logits.gather(-1, best)
    rest = z.flip(-1).logcumsumexp(-1).flip(-1)
    return (rest - z).sum(-1)


def rounds(scores: Scores) -> list[int]:
    """Drafted tokens accepted in every round of decoding the batch's texts with greedy chains.

    Exact for greedy answers: along an accepted chain the drafted tokens are the text's, so the
    rollout saw what decoding would have seen.
    """
    accepted = []
    ends = (scores.lesson.lengths - 2).tolist()
    starts = scores.lesson.starts.tolist()
    for runs, start, end in zip(scores.runs.tolist(), starts, ends, strict=True):
        place = start - 1
        while place < end:
            accepted.append(runs[place])
            place += runs[place] + 1
    return accepted


def _token_losses(
    objective: Objective, chosen: Tensor, wanted: Tensor, p: Tensor, logits: Tensor, known: Tensor
) -> Tensor:
    """``(supervised,)`` weighted sum of the terms; laws count where the drafter knows the token."""
    loss = chosen.new_zeros(len(chosen))
    if objective.entropy:
        loss = loss - objective.entropy * (p * logits.log_softmax(-1)).sum(-1)
    if objective.distance:
        loss = loss + objective.distance * (logits.softmax(-1) - p).abs().sum(-1)
    if objective.ranking:
        loss = loss + objective.ranking * list_mle(logits, p)
    loss = loss * known
    if objective.feature:
        regression = F.smooth_l1_loss(chosen, wanted, reduction="none").mean(-1)
        loss = loss + objective.feature * regression
    return loss


def _runs(right: list[Tensor], taught: Lesson) -> Tensor:
    """From "right at depth d" per slot to "right in a row" per start."""
    alive = torch.ones_like(right[0])
    runs = torch.zeros_like(right[0], dtype=torch.long)
    for depth, hits in enumerate(right):
        # The start of slot s at this depth is s - depth: bring both to the start's place.
        alive = alive & (hits & taught.supervised(depth)).roll(-depth, 1)
        runs += alive
    return runs
