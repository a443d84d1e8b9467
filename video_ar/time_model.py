"""How long a routed video takes, from what was done for it.

``seconds = blocks * base + scored * score + regenerated * target``: every block is drafted,
committed and decoded; some are scored; some are written again by the target. On the published table
of SDVG (arXiv 2604.17397) this gives 3.7, 0.3 and 10.4 s. It answers what a table of accept rates
does not: which settings take equal time, hence may be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Record:
    """One video, or the mean of some.

    Attributes:
        blocks: Blocks of the video.
        scored: Blocks that were scored; with a forced first block all others.
        regenerated: Blocks that the target wrote, forced ones included.
        seconds: What it took.
    """

    blocks: float
    scored: float
    regenerated: float
    seconds: float


@dataclass(frozen=True)
class TimeModel:
    """Seconds by kind of work.

    Attributes:
        base: A block without scoring and target: draft, both context updates, decoding.
        score: Scoring a block.
        target: The target's rollout of a block.
    """

    base: float
    score: float
    target: float

    @classmethod
    def fit(cls, records: Sequence[Record]) -> TimeModel:
        """Least squares.

        A kind of work that no record has costs nothing. Records should come from one machine and
        differ in what was done.

        Raises:
            ValueError: The records cannot tell the kinds of work apart.
        """
        work = _work(records)
        seen = [kind for kind in range(3) if len(records) and work[:, kind].any()]
        if not seen or np.linalg.matrix_rank(work[:, seen]) < len(seen):
            names = ", ".join(("blocks", "scored", "regenerated")[kind] for kind in seen)
            raise ValueError(
                f"{len(records)} records cannot tell the costs of {names or 'anything'} apart; add "
                "videos with another share of target blocks, and some that were not scored"
            )
        seconds = np.asarray([record.seconds for record in records], float)
        costs = np.zeros(3)
        costs[seen] = np.linalg.lstsq(work[:, seen], seconds, rcond=None)[0]
        return cls(*costs.tolist())

    def seconds(self, blocks: float, scored: float, regenerated: float) -> float:
        """Predicted time of a video."""
        return blocks * self.base + scored * self.score + regenerated * self.target

    def errors(self, records: Sequence[Record]) -> tuple[float, ...]:
        """Predicted over measured time minus one, for every record; 0.05 is 5 % too slow."""
        return tuple(
            self.seconds(record.blocks, record.scored, record.regenerated) / record.seconds - 1
            for record in records
        )

    def regenerated(self, seconds: float, blocks: float, scored: float) -> float:
        """Target blocks that fit into the given time: equal time for routers that score or not.

        Returns:
            Between 0 and ``blocks``; not a whole number, as it is a mean over videos.

        Raises:
            ValueError: The target costs nothing in this model.
        """
        if self.target <= 0:
            raise ValueError(f"a target block costs {self.target:g} s here; fit more records")
        left = seconds - self.seconds(blocks, scored, 0)
        return min(max(left / self.target, 0.0), float(blocks))


def _work(records: Sequence[Record]) -> NDArray[np.float64]:
    """``(records, 3)``: how often each kind of work was done."""
    rows = [(record.blocks, record.scored, record.regenerated) for record in records]
    return np.asarray(rows, float).reshape(len(rows), 3)
