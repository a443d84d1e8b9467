"""Thresholds by share of blocks: the quantiles of a scorer's block scores, kept in a file.

Every scorer has a scale of its own. What carries over is a share: "refuse the worst fifth". A
handful of drafted videos gives the table; it belongs to one scorer and one way of turning frames'
scores into a block's, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from video_ar.checks import check_number

_LEVELS = 101


@dataclass(frozen=True)
class Calibration:
    """Quantiles of block scores.

    Attributes:
        scorer: Name of the scorer.
        aggregate: How frames' scores became a block's: ``min``, ``mean`` or ``quantile``.
        count: Blocks that were scored.
        levels: Ascending, from 0 to 1.
        values: Quantile at every level, ascending.

    Raises:
        ValueError: No such table.
    """

    scorer: str
    aggregate: str
    count: int
    levels: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        levels, values = np.asarray(self.levels, float), np.asarray(self.values, float)
        fits = (
            levels.ndim == 1
            and levels.shape == values.shape
            and len(levels) >= 2
            and (levels[0], levels[-1]) == (0, 1)
            and bool((np.diff(levels) > 0).all())
            and bool(np.isfinite(values).all() and (np.diff(values) >= 0).all())
        )
        if not fits:
            raise ValueError(
                f"the calibration of {self.scorer} needs levels that rise from 0 to 1 and as many "
                "finite values that do not fall"
            )

    @classmethod
    def of(cls, scorer: str, scores: Sequence[float], aggregate: str = "min") -> Calibration:
        """The table of some blocks' scores.

        Args:
            scorer: Name of the scorer.
            scores: One a block, at least two; forced blocks left out.
            aggregate: How frames' scores became a block's.

        Raises:
            ValueError: Too few scores, or one that is not finite.
        """
        found = np.asarray(scores, float)
        if len(found) < 2 or not np.isfinite(found).all():
            raise ValueError(
                f"a calibration of {scorer} needs two finite block scores or more, got {scores!r}"
            )
        levels = np.linspace(0, 1, _LEVELS)
        # Interpolation rounds, so that equal neighbours could come out in falling order.
        values = np.maximum.accumulate(np.quantile(found, levels))
        return cls(scorer, aggregate, len(found), tuple(levels.tolist()), tuple(values.tolist()))

    def threshold(self, refused: float) -> float:
        """The ``tau`` that refuses about this share of the blocks that were scored.

        Raises:
            ValueError: The share is not in [0, 1].
        """
        check_number("refused", refused, 0.0, 1.0)
        return float(np.interp(refused, self.levels, self.values))

    def save(self, path: str | Path) -> None:
        """Write JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, scorer: str, aggregate: str = "min") -> Calibration:
        """Read JSON written by :meth:`save`.

        Args:
            path: The file.
            scorer: Name of the scorer that is going to be used.
            aggregate: How its scores are going to be turned into a block's.

        Raises:
            ValueError: No such table, or one of another scorer or aggregate.
        """
        try:
            said: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            levels, values = tuple(said.pop("levels")), tuple(said.pop("values"))
            table = cls(levels=levels, values=values, **said)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} cannot be read as a calibration: {error}") from error
        if (table.scorer, table.aggregate) != (scorer, aggregate):
            raise ValueError(
                f"{path} calibrates the {table.aggregate} of {table.scorer}, not the {aggregate} "
                f"of {scorer}; thresholds do not carry over, calibrate anew"
            )
        return table
