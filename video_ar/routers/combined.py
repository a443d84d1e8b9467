"""Routers around another: blocks that the target always writes, a budget, scores beside its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from mmspec.rules.certificate import Certificate
from video_ar.checks import check_count, check_number
from video_ar.routers.fixed import TargetOnly
from video_ar.routers.protocol import (
    LOSSY,
    Answer,
    AskReference,
    BlockEvidence,
    Decision,
    Router,
)


class _Around:
    """A router that looks at what its inner router looks at, and promises no more."""

    inner: Router

    @property
    def needs_pixels(self) -> bool:
        """As the inner router."""
        return self.inner.needs_pixels

    @property
    def needs_scores(self) -> bool:
        """As the inner router."""
        return self.inner.needs_scores

    @property
    def check_step(self) -> int | None:
        """As the inner router."""
        return self.inner.check_step

    @property
    def certificate(self) -> Certificate:
        """As the inner router."""
        return self.inner.certificate


@dataclass(frozen=True)
class Forced(_Around):
    """The target writes the given blocks; the inner router decides on the others.

    Forced blocks are decided before they are drafted, so nothing is drafted, decoded or scored for
    them. With block 0 this is the published setting (SDVG, arXiv 2604.17397).

    Attributes:
        blocks: Indices of blocks that the target writes.
        inner: Decides on all others.

    Raises:
        ValueError: An index that no block can have.
    """

    blocks: Collection[int]
    inner: Router

    name = "forced"

    def __post_init__(self) -> None:
        for block in self.blocks:
            check_count("a forced block", block)
        object.__setattr__(self, "blocks", frozenset(self.blocks))

    def decide(self, evidence: BlockEvidence) -> Answer:
        """Pure."""
        if evidence.block in self.blocks:
            return Decision(False, None, f"the target always writes block {evidence.block}")
        return self.inner.decide(evidence)


@dataclass(frozen=True)
class Relative(_Around):
    """The inner router sees how much better pictures score than the worst that the target made.

    Counts from the block that the target wrote last. A reward of single pictures refuses a video
    whose first block is wrong again and again, and the target, which goes on from that block,
    cannot mend it. What it can mend is what was lost since. Ours, not published.

    Attributes:
        inner: Compares scores with a threshold; 0 now means "no worse than the target's".
    """

    inner: Router

    name = "relative"

    def decide(self, evidence: BlockEvidence) -> Answer:
        """Pure; needs a block of the target, and refuses where there is none so far."""
        if not evidence.target_blocks:
            return Decision(False, None, "the target has written no block to compare with")
        if (reference := evidence.reference) is None:
            return AskReference()
        scores = {frame: score - reference for frame, score in evidence.scores.items()}
        return self.inner.decide(replace(evidence, scores=scores))


@dataclass(frozen=True)
class Budget(_Around):
    """What the inner router refuses goes to the target while the budget lasts; then drafts stay.

    Once it is spent, blocks are kept without being scored. A budget of time makes decisions depend
    on the speed of the machine; one of blocks does not.

    Attributes:
        max_target_blocks: Most blocks of a video that the target writes; None is no limit.
        seconds: Most time of a video that the target takes. The next block is taken to need the
            mean of those before; the first is always granted.
        inner: Whose refusals are granted; by default the first blocks of a video use the budget up.

    Raises:
        ValueError: No limit is given, or a limit out of range.
    """

    max_target_blocks: int | None = None
    seconds: float | None = None
    inner: Router = field(default_factory=TargetOnly)

    name = "budget"
    certificate = LOSSY

    def __post_init__(self) -> None:
        if self.max_target_blocks is None and self.seconds is None:
            raise ValueError("a budget needs max_target_blocks or seconds; give one of them")
        if self.max_target_blocks is not None:
            check_count("max_target_blocks", self.max_target_blocks)
        if self.seconds is not None:
            check_number("seconds", self.seconds, 0.0)

    def decide(self, evidence: BlockEvidence) -> Answer:
        """Pure."""
        if self._spent(evidence):
            return Decision(True, None, "the budget of the target is spent")
        return self.inner.decide(evidence)

    def _spent(self, evidence: BlockEvidence) -> bool:
        """Whether the target may not write one more block."""
        done = evidence.target_blocks
        if self.max_target_blocks is not None and done >= self.max_target_blocks:
            return True
        if self.seconds is None or done == 0:
            return False
        return evidence.target_seconds * (done + 1) / done > self.seconds
