"""What a block router sees and says.

A router decides block by block whether the drafter's block is kept or the target writes it again.
It is a pure function of the evidence. Asked before anything was drafted it either decides at once,
or names what it has to see: scores of frames, how well the target's own last block scored, or what
the target sees in the draft. So work that no decision needs is never done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from mmspec.rules.certificate import Certificate
from video_ar.checks import check_count

LOSSY = Certificate(
    "lossy",
    "blocks of the drafter are kept as they are; nothing bounds how far the video is from the "
    "target's",
)
EXACT = Certificate("exact", "the target writes every block")


@dataclass(frozen=True)
class Decision:
    """What becomes of a block.

    Attributes:
        accept: True keeps the drafter's block, False has the target write it.
        score: The number that was compared with a threshold; None where none was. After an early
            exit it is that of the frames seen.
        reason: For people, in a few words.
    """

    accept: bool
    score: float | None
    reason: str


@dataclass(frozen=True)
class MoreScores:
    """A router's request: the scores of these frames of the block, which must be drafted first.

    Attributes:
        frames: Indices within the block; none of them scored so far.
    """

    frames: tuple[int, ...]


@dataclass(frozen=True)
class AskTarget:
    """A router's request: what the target sees in the draft at one of its steps.

    Attributes:
        step: The step before which the drafter's state is shown to the target.
    """

    step: int


@dataclass(frozen=True)
class AskReference:
    """A router's request: how well the block scored that the target wrote last."""


@dataclass(frozen=True)
class BlockEvidence:
    """All that a router may look at.

    Attributes:
        block: Index of the block.
        blocks: Blocks of the whole video.
        frames: Pixel frames of this block.
        scores: Frame index to score, as far as scored; larger is better.
        history: Decisions on the blocks before, in order.
        earlier: Block scores of videos made before; only for routers that adapt to them.
        target_seconds: Time that the target has spent on blocks and checks of this video.
        agreement: Of each latent frame, minus the distance of what drafter and target see in the
            draft, see :class:`~video_ar.agreement.Agreement`; empty until the target was asked.
        reference: Score of the worst picture of the block that the target wrote last; None until
            asked for.
        seed: That the noise of this video comes from; for routers that toss coins.

    Raises:
        ValueError: The parts do not fit together.
    """

    block: int
    blocks: int
    frames: int
    scores: Mapping[int, float] = field(default_factory=dict)
    history: tuple[Decision, ...] = ()
    earlier: tuple[float, ...] = ()
    target_seconds: float = 0.0
    agreement: tuple[float, ...] = ()
    reference: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("blocks", self.blocks, 1)
        check_count("block", self.block, 0, self.blocks - 1)
        check_count("frames", self.frames, 1)
        if len(self.history) != self.block:
            raise ValueError(
                f"block {self.block} comes after {self.block} decisions, got {len(self.history)}; "
                "history holds one decision for every block before, forced ones included"
            )
        if outside := sorted(frame for frame in self.scores if not 0 <= frame < self.frames):
            raise ValueError(f"a block of {self.frames} frames has no frames {outside}")

    @property
    def missing(self) -> tuple[int, ...]:
        """Frames without a score, in order."""
        return tuple(frame for frame in range(self.frames) if frame not in self.scores)

    @property
    def target_blocks(self) -> int:
        """Blocks before this one that the target wrote."""
        return sum(not decision.accept for decision in self.history)

    def with_scores(self, frames: Sequence[int], scores: Tensor) -> BlockEvidence:
        """A copy that also knows the scores ``(len(frames),)``; reads them from their device.

        Raises:
            ValueError: There is not one score for every frame.
        """
        if scores.shape != (len(frames),):
            raise ValueError(f"{len(frames)} frames need as many scores, got {tuple(scores.shape)}")
        found = dict(zip(frames, scores.tolist(), strict=True))
        return replace(self, scores={**self.scores, **found})


Answer = Decision | MoreScores | AskTarget | AskReference


class Router(Protocol):
    """Keeps or refuses drafted blocks. Neither mutated by deciding nor random without a seed."""

    @property
    def name(self) -> str:
        """What users type."""

    @property
    def needs_pixels(self) -> bool:
        """Whether a drafted block must be decoded before the decision, for some block at least."""

    @property
    def needs_scores(self) -> bool:
        """Whether a scorer must be there."""

    @property
    def check_step(self) -> int | None:
        """The step of a draft about which the target may be asked; None if it never is."""

    @property
    def certificate(self) -> Certificate:
        """What is promised about the video."""

    def decide(self, evidence: BlockEvidence) -> Answer:
        """Decide, or say what is missing for it."""


def route(
    router: Router,
    evidence: BlockEvidence,
    score: Callable[[tuple[int, ...]], Tensor],
    check: Callable[[int], tuple[float, ...]],
    reference: Callable[[], float],
) -> Decision:
    """Ask a router until it decides, and find out what it asks for.

    Args:
        router: Not changed.
        evidence: Of one block, with or without scores.
        score: From frame indices to their scores, ``(len(frames),)``.
        check: From a step to the agreement of each latent frame there.
        reference: Score of the worst picture of the block that the target wrote last.

    Raises:
        ValueError: The router asks for what it has seen, so that it would never decide.
    """
    answer = router.decide(evidence)
    while not isinstance(answer, Decision):
        if isinstance(answer, AskTarget):
            if evidence.agreement:
                raise _endless(router, evidence, f"what the target sees at step {answer.step}")
            evidence = replace(evidence, agreement=check(answer.step))
        elif isinstance(answer, AskReference):
            if evidence.reference is not None:
                raise _endless(router, evidence, "the score of the target's last block")
            evidence = replace(evidence, reference=reference())
        else:
            if not set(answer.frames) - set(evidence.scores):
                raise _endless(router, evidence, f"frames {answer.frames}")
            evidence = evidence.with_scores(answer.frames, score(answer.frames))
        answer = router.decide(evidence)
    return answer


def _endless(router: Router, evidence: BlockEvidence, what: str) -> ValueError:
    return ValueError(
        f"router '{router.name}' asks again for {what} of block {evidence.block}; it has to decide "
        "once it has seen them"
    )
