"""The target as a judge: one evaluation inside the drafter's steps, before the draft is kept."""

from __future__ import annotations

from dataclasses import dataclass

from video_ar.checks import check_count, check_number
from video_ar.routers.protocol import LOSSY, Answer, AskTarget, BlockEvidence
from video_ar.routers.reward import Aggregate, block_score, check_aggregate, compared


@dataclass(frozen=True)
class TargetCheck:
    """Keeps a block in which the target sees nearly what the drafter saw.

    The target is shown the noisy state that the drafter had before one of its steps; both tell the
    clean block that they see in it. Their relative distance needs no reward model, no text window
    and no decoded picture, and it sees motion. It costs one evaluation of the target a draft, and
    the target has to read what was committed first. A refused block goes on from that evaluation
    if the rule hands over at ``step``; at step 0, both saw the same noise, and nothing was in vain.

    At a fixed history the decision is monotone in ``tau``, as with
    :class:`~video_ar.routers.reward.Threshold`.

    Attributes:
        tau: Least agreement, see :class:`~video_ar.agreement.Agreement`: 0 is none but equal
            blocks, -0.5 lets the draft be off by half of the block's own size. Infinite ones keep
            all or nothing.
        step: The step of the draft to check at; a later one costs less to go on from and leaves
            less to change.
        aggregate: How latent frames become the block, see
            :func:`~video_ar.routers.reward.block_score`.
        level: Of the quantile.

    Raises:
        ValueError: ``tau`` is not a number, or an option out of range.
    """

    tau: float
    step: int = 2
    aggregate: Aggregate = "min"
    level: float = 0.1

    name = "target-check"
    needs_pixels = False
    needs_scores = False
    certificate = LOSSY

    def __post_init__(self) -> None:
        check_number("tau", self.tau)
        check_count("step", self.step)
        check_aggregate(self.aggregate, self.level)

    @property
    def check_step(self) -> int:
        """The step."""
        return self.step

    def decide(self, evidence: BlockEvidence) -> Answer:
        """Pure; needs the target's word on the draft."""
        if not evidence.agreement:
            return AskTarget(self.step)
        score = block_score(evidence.agreement, self.aggregate, self.level)
        return compared(score, self.tau, f"{self.aggregate} agreement at step {self.step}")
