"""Routers that compare a block's score with a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np

from video_ar.checks import check_count, check_number
from video_ar.routers.protocol import LOSSY, BlockEvidence, Decision, MoreScores

Aggregate = Literal["min", "mean", "quantile"]


class Rewarding:
    """What routers that see scores have in common."""

    needs_pixels = True
    needs_scores = True
    check_step = None
    certificate = LOSSY


def block_score(scores: Sequence[float], aggregate: Aggregate, level: float) -> float:
    """One number for a block; NaN where any frame's score is NaN.

    The result lies between the smallest and the largest score, also after rounding.

    Args:
        scores: Of all its frames.
        aggregate: ``min`` (published), ``mean``, or the ``quantile`` at ``level``.
        level: In [0, 1]; 0 is the minimum. Only for ``quantile``.
    """
    if any(math.isnan(score) for score in scores):
        return math.nan
    low, high = min(scores), max(scores)
    if aggregate == "min" or low == high:
        return low
    if aggregate == "mean":
        value = sum(scores) / len(scores)
    else:
        value = float(np.quantile(scores, level))
    return min(max(value, low), high)


def compared(score: float, tau: float, what: str) -> Decision:
    """Kept where ``score >= tau``; a score that is not a number is always refused."""
    if math.isnan(score):
        return Decision(False, score, f"{what} is not a number")
    accept = score >= tau
    return Decision(accept, score, f"{what} {score:.4g} {'>=' if accept else '<'} {tau:.4g}")


def check_aggregate(aggregate: str, level: float) -> None:
    """Refuse an unknown aggregate or a level that is none.

    Raises:
        ValueError: Names what is known.
    """
    if aggregate not in get_args(Aggregate):
        raise ValueError(
            f"unknown aggregate {aggregate!r}; choose from {', '.join(get_args(Aggregate))}"
        )
    check_number("level", level, 0.0, 1.0)


@dataclass(frozen=True)
class Threshold(Rewarding):
    """Keeps a block whose score is at least ``tau`` (SDVG, arXiv 2604.17397, with ``min``).

    At a fixed history the decision is monotone in ``tau``, and so is the index of the first
    refusal. The number of kept blocks is not: a refusal changes what later blocks look like.

    Attributes:
        tau: On the scorer's own scale; for ImageReward -2 to -0.7 are published. Infinite ones keep
            all or nothing.
        aggregate: How frames' scores become the block's, see :func:`block_score`.
        level: Of the quantile.

    Raises:
        ValueError: ``tau`` is not a number, or an option out of range.
    """

    tau: float
    aggregate: Aggregate = "min"
    level: float = 0.1

    name = "threshold"

    def __post_init__(self) -> None:
        check_number("tau", self.tau)
        check_aggregate(self.aggregate, self.level)

    def decide(self, evidence: BlockEvidence) -> Decision | MoreScores:
        """Pure; needs the scores of all frames."""
        if missing := evidence.missing:
            return MoreScores(missing)
        score = block_score(list(evidence.scores.values()), self.aggregate, self.level)
        return compared(score, self.tau, f"{self.aggregate} score")


@dataclass(frozen=True)
class Quantile(Rewarding):
    """Keeps the better ``rate`` of blocks, judged by all block scores seen so far.

    The threshold is the quantile at ``1 - share`` of the scores of this video and of ``earlier``
    ones, the block's own not among them; before ``patience`` scores there are, that of a normal
    law. It is that of an earlier version of SDVG's program; the defaults are its numbers for
    ImageReward. Results depend on the order of prompts wherever ``earlier`` is given.

    Attributes:
        rate: Share of a video's blocks to keep, in (0, 1).
        forced: Blocks of a video that are refused anyway; the others make up for them.
        cap: Largest share of routed blocks to keep.
        patience: Scores from which on the law of the past is used.
        prior_mean: Mean of the normal law.
        prior_std: Its standard deviation.
        aggregate: How frames' scores become the block's, see :func:`block_score`.
        level: Of that quantile over frames.

    Raises:
        ValueError: An option out of range.
    """

    rate: float = 0.72
    forced: int = 1
    cap: float = 0.95
    patience: int = 5
    prior_mean: float = 0.566
    prior_std: float = 1.071
    aggregate: Aggregate = "min"
    level: float = 0.1

    name = "quantile"

    def __post_init__(self) -> None:
        for name in ("rate", "cap"):
            value = getattr(self, name)
            check_number(name, value, 0.0, 1.0)
            if value in (0, 1):
                raise ValueError(f"{name} must lie strictly between 0 and 1, got {value!r}")
        check_count("forced", self.forced)
        check_count("patience", self.patience, 1)
        for name in ("prior_mean", "prior_std"):
            check_number(name, getattr(self, name), -1e30, 1e30)
        if self.prior_std <= 0:
            raise ValueError(f"prior_std must be positive, got {self.prior_std!r}")
        check_aggregate(self.aggregate, self.level)

    def share(self, blocks: int) -> float:
        """Share of routed blocks to keep, so that ``rate`` of all ``blocks`` are."""
        routed = blocks - self.forced
        return min(self.cap, self.rate * blocks / routed) if routed > 0 else self.cap

    def threshold(self, evidence: BlockEvidence) -> float:
        """What the block's score is compared with; from the past alone."""
        level = 1 - self.share(evidence.blocks)
        here = [decision.score for decision in evidence.history if decision.score is not None]
        past = [score for score in (*evidence.earlier, *here) if math.isfinite(score)]
        if len(past) < self.patience:
            return NormalDist(self.prior_mean, self.prior_std).inv_cdf(level)
        return float(np.quantile(past, level))

    def decide(self, evidence: BlockEvidence) -> Decision | MoreScores:
        """Pure; needs the scores of all frames, so that the record of scores stays unbiased."""
        if missing := evidence.missing:
            return MoreScores(missing)
        score = block_score(list(evidence.scores.values()), self.aggregate, self.level)
        return compared(score, self.threshold(evidence), f"{self.aggregate} score")
