"""Routers that never look at a picture: a plan by block index, or a coin.

These are the baselines that a reward has to beat at equal time. On the published table the first
block alone carries most of the gain, and a coin after a forced first block is within 0.0002 of the
reward router.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mmspec.noise import Noise
from video_ar.checks import check_count, check_number
from video_ar.routers.protocol import EXACT, LOSSY, BlockEvidence, Decision


class _Unseeing:
    """What routers without a view of the block have in common."""

    needs_pixels = False
    needs_scores = False
    check_step = None
    certificate = LOSSY


@dataclass(frozen=True)
class TargetOnly(_Unseeing):
    """The target writes every block: the baseline for quality."""

    name = "target-only"
    certificate = EXACT

    def decide(self, evidence: BlockEvidence) -> Decision:
        """Never keeps a draft."""
        return Decision(False, None, "the target writes every block")


@dataclass(frozen=True)
class DraftOnly(_Unseeing):
    """The drafter writes every block: the baseline for speed."""

    name = "draft-only"

    def decide(self, evidence: BlockEvidence) -> Decision:
        """Keeps every draft."""
        return Decision(True, None, "every draft is kept")


@dataclass(frozen=True)
class FirstBlock(_Unseeing):
    """The target writes the first block, the drafter all that follow."""

    name = "first-block"

    def decide(self, evidence: BlockEvidence) -> Decision:
        """Keeps every draft but the first."""
        if evidence.block == 0:
            return Decision(False, None, "the target writes the first block")
        return Decision(True, None, "drafts after the first block are kept")


@dataclass(frozen=True)
class Random(_Unseeing):
    """Keeps a block with probability ``rate``, independently of everything.

    Blocks kept at one rate are kept at every higher one, for the same seeds.

    Attributes:
        rate: Chance of keeping a block, in [0, 1].
        seed: The coin is a function of it, of the seed of the video and of the block.

    Raises:
        ValueError: The rate is no probability.
    """

    rate: float
    seed: int = 0

    name = "random"

    def __post_init__(self) -> None:
        check_number("rate", self.rate, 0.0, 1.0)

    def decide(self, evidence: BlockEvidence) -> Decision:
        """Pure."""
        place = torch.zeros(1, 1, dtype=torch.long)
        noise = Noise((self.seed,), horizon=1)
        coin = noise.at(f"router video {evidence.seed} block {evidence.block}", place).item()
        accept = coin < self.rate
        return Decision(accept, None, f"coin {coin:.3f}, kept under {self.rate:g}")


@dataclass(frozen=True)
class Stride(_Unseeing):
    """The target writes every ``k``-th block, the drafter those between.

    Attributes:
        k: Distance of the target's blocks; 1 is target only.
        phase: Index of the target's first block, under ``k``.

    Raises:
        ValueError: ``k`` under 1, or a phase outside ``[0, k)``.
    """

    k: int
    phase: int = 0

    name = "stride"

    def __post_init__(self) -> None:
        check_count("k", self.k, 1)
        check_count("phase", self.phase, 0, self.k - 1)

    def decide(self, evidence: BlockEvidence) -> Decision:
        """Pure."""
        accept = evidence.block % self.k != self.phase
        return Decision(accept, None, f"the target writes blocks {self.phase} + {self.k} n")
