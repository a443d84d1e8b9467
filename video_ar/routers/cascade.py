"""Threshold routing that scores only as many frames as the decision needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from video_ar.checks import check_count, check_number
from video_ar.routers.protocol import BlockEvidence, Decision, MoreScores
from video_ar.routers.reward import Rewarding, compared


@dataclass(frozen=True)
class Cascade(Rewarding):
    """Decides as ``Threshold(tau)`` with the minimum, and stops scoring once it knows.

    The minimum over some frames is never under that over all, so one frame under ``tau`` settles a
    refusal; only a kept block costs all frames. Without ``band`` the decisions are those of full
    scoring, for any order.

    With ``band`` it is the published cascade (SDVG-hybrid, later version of arXiv 2604.17397): the
    first group alone keeps a block whose minimum there is at least ``tau + band``. That can keep a
    block which full scoring refuses. Its lower edge ``tau - band`` is not needed and left out: a
    minimum under ``tau`` stays under it.

    For scorers of single frames. One that looks at earlier frames sees the whole block at every
    request, so that it costs more than with ``Threshold``.

    Attributes:
        tau: As of :class:`~video_ar.routers.reward.Threshold`.
        group: Frames scored at a time.
        band: Margin over ``tau`` for keeping a block early; None is sound. Not published.
        order: Frames in the order to score them; None starts with ``group`` evenly spaced ones
            (0, 4, 7 and 11 of twelve).

    Raises:
        ValueError: ``tau`` is not a number, or an option out of range.
    """

    tau: float
    group: int = 4
    band: float | None = None
    order: tuple[int, ...] | None = None

    name = "cascade"

    def __post_init__(self) -> None:
        check_number("tau", self.tau)
        check_count("group", self.group, 1)
        if self.band is not None:
            check_number("band", self.band, 0.0)

    def decide(self, evidence: BlockEvidence) -> Decision | MoreScores:
        """Pure.

        Raises:
            ValueError: ``order`` does not hold every frame of the block once.
        """
        order, scores = self.plan(evidence.frames), evidence.scores
        if scores:
            seen = list(scores.values())
            lowest = math.nan if any(map(math.isnan, seen)) else min(seen)
            settled = not lowest >= self.tau or len(scores) == evidence.frames
            if settled or self._clear(lowest, order, evidence):
                what = f"min score of {len(scores)} of {evidence.frames} frames"
                return compared(lowest, self.tau, what)
        rest = [frame for frame in order if frame not in scores]
        return MoreScores(tuple(rest[: self.group]))

    def plan(self, frames: int) -> tuple[int, ...]:
        """The order in which the frames of a block are scored."""
        if self.order is not None:
            if sorted(self.order) != list(range(frames)):
                raise ValueError(
                    f"order must hold each of the block's {frames} frames once, got {self.order}"
                )
            return self.order
        count = min(self.group, frames)
        first = [round(i * (frames - 1) / max(count - 1, 1)) for i in range(count)]
        return (*first, *(frame for frame in range(frames) if frame not in first))

    def _clear(self, lowest: float, order: tuple[int, ...], evidence: BlockEvidence) -> bool:
        """Whether the first group alone keeps the block."""
        if self.band is None or not all(frame in evidence.scores for frame in order[: self.group]):
            return False
        return lowest >= self.tau + self.band
