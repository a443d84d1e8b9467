"""How long a routed video takes, from what was done for it.

``seconds = blocks * base + scored * score + regenerated * target + checked * check``: every block
is drafted, committed and decoded; some are scored; some are written again by the target, or looked
at by it. On the published table of SDVG (arXiv 2604.17397), which has no checks, this gives 3.7,
0.3 and 10.4 s. It answers what a table of accept rates does not: which settings take equal time,
hence may be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from video_ar.reporting import BlockRecord

_KINDS = ("blocks", "scored", "regenerated", "checked")  # in the order of the costs


@dataclass(frozen=True)
class Record:
    """One video, or the mean of some.

    Attributes:
        blocks: Blocks of the video.
        scored: Blocks that were scored; with a forced first block all others.
        regenerated: Blocks that the target wrote, forced ones included. One that went on from a
            draft or from a check counts as the share of the steps that were still to do.
        seconds: What it took.
        checked: Drafts that the target looked at.
    """

    blocks: float
    scored: float
    regenerated: float
    seconds: float
    checked: float = 0.0

    @classmethod
    def of(cls, blocks: Sequence[BlockRecord], steps: int, seconds: float) -> Record:
        """What a video's records say was done.

        Args:
            blocks: Of all its blocks.
            steps: Evaluations of the network that a whole block takes.
            seconds: What the video took.
        """
        checked = sum(block.checks for block in blocks)
        evaluations = sum(block.evaluations for block in blocks)
        scored = sum("score" in block.seconds for block in blocks)
        return cls(len(blocks), scored, (evaluations - checked) / steps, seconds, checked)


@dataclass(frozen=True)
class TimeModel:
    """Seconds by kind of work.

    Attributes:
        base: A block without scoring and target: draft, both context updates, decoding.
        score: Scoring a block.
        target: The target's rollout of a block.
        check: The target's look at a draft: one evaluation, and the reading of the block before.
    """

    base: float
    score: float
    target: float
    check: float = 0.0

    @classmethod
    def fit(cls, records: Sequence[Record]) -> TimeModel:
        """Least squares.

        A kind of work that no record has costs nothing. Records should come from one machine and
        differ in what was done.

        Raises:
            ValueError: The records cannot tell the kinds of work apart.
        """
        work = _work(records)
        seen = [kind for kind in range(len(_KINDS)) if work[:, kind].any()]
        if not seen or np.linalg.matrix_rank(work[:, seen]) < len(seen):
            names = ", ".join(_KINDS[kind] for kind in seen)
            raise ValueError(
                f"{len(records)} records cannot tell the costs of {names or 'anything'} apart; add "
                "videos with another share of target blocks, and some that were not scored"
            )
        seconds = np.asarray([record.seconds for record in records], float)
        costs = np.zeros(len(_KINDS))
        costs[seen] = np.linalg.lstsq(work[:, seen], seconds, rcond=None)[0]
        return cls(*costs.tolist())

    def seconds(
        self, blocks: float, scored: float, regenerated: float, checked: float = 0.0
    ) -> float:
        """Predicted time of a video."""
        written = blocks * self.base + regenerated * self.target
        return written + scored * self.score + checked * self.check

    def errors(self, records: Sequence[Record]) -> tuple[float, ...]:
        """Predicted over measured time minus one, for every record; 0.05 is 5 % too slow."""
        return tuple(
            self.seconds(*work) / record.seconds - 1
            for work, record in zip(_work(records).tolist(), records, strict=True)
        )

    def regenerated(
        self, seconds: float, blocks: float, scored: float, checked: float = 0.0
    ) -> float:
        """Target blocks that fit into the given time: equal time for routers of every kind.

        Returns:
            Between 0 and ``blocks``; not a whole number, as it is a mean over videos.

        Raises:
            ValueError: The target costs nothing in this model.
        """
        if self.target <= 0:
            raise ValueError(f"a target block costs {self.target:g} s here; fit more records")
        left = seconds - self.seconds(blocks, scored, 0, checked)
        return min(max(left / self.target, 0.0), float(blocks))


def _work(records: Sequence[Record]) -> NDArray[np.float64]:
    """``(records, kinds)``: how often each kind of work was done."""
    rows = [[getattr(record, kind) for kind in _KINDS] for record in records]
    return np.asarray(rows, float).reshape(len(rows), len(_KINDS))
