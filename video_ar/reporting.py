"""What became of a block, and what a round over blocks commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mmspec.messages import Commit, Draft
from video_ar.rule import Routing

Outcome = Literal["forced", "accepted", "regenerated"]


@dataclass(frozen=True)
class BlockRecord:
    """The unit of a video's trace: plain values, no tensors.

    Attributes:
        block: Its index.
        decision: ``forced`` (the target made it, nothing was drafted), ``accepted``, or
            ``regenerated`` (drafted, refused, made by the target).
        score: What was compared with a threshold; None where nothing was.
        reason: The router's.
        start_step: The first step that the target ran, above 0 if it went on from the draft; None
            for accepted blocks.
        evaluations: Evaluations of the target's network on this block, those for the router among
            them; passes over clean blocks are not.
        passes: Passes of the target over clean blocks since the last block.
        frames: Pixel frames.
        seconds: Of the stages ``draft``, ``decode``, ``score``, ``check`` and ``target``, as far as
            run.
        checks: Evaluations of the target for the router.
    """

    block: int
    decision: Outcome
    score: float | None
    reason: str
    start_step: int | None
    evaluations: int
    passes: int
    frames: int
    seconds: dict[str, float]
    checks: int = 0


@dataclass(frozen=True)
class FinishedBlock:
    """What a commit hands on beside its record.

    Attributes:
        latents: ``(1, channels, frames, height, width)``.
        pictures: ``(1, 3, frames, height, width)`` in [-1, 1]; None where none were wanted.
    """

    latents: Tensor
    pictures: Tensor | None


def outcome(draft: Draft, routing: Routing) -> Outcome:
    """One word for what became of the block."""
    if routing.decision.accept:
        return "accepted"
    return "regenerated" if draft.nodes else "forced"


def nothing_due() -> Commit:
    """The commit of the prefill: the first block is planned like all others."""
    return Commit(
        units=[[]],
        accepted=[0],
        corrected=[False],
        probability=[[]],
        drafted=[0],
        depth=0,
        finished=[False],
        active=[True],
        forwards=0,
    )


def committed(
    draft: Draft, record: BlockRecord, block: FinishedBlock, finished: bool, healthy: bool
) -> Commit:
    """The commit of one block."""
    drafted = draft.nodes > 0
    return Commit(
        units=[[record]],
        accepted=[int(record.decision == "accepted")],
        corrected=[record.decision == "regenerated"],
        probability=[[None]],
        drafted=[draft.nodes],
        depth=draft.nodes,
        finished=[finished],
        active=[True],
        forwards=record.evaluations + record.passes,
        draft_healthy=healthy,
        scores=[[record.score]] if drafted and record.score is not None else [],
        made=[block],
    )
