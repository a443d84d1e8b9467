"""What the acceptance doctor found, and the rule that it speaks by."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MORE_TOKENS, MORE_SHARE = 0.5, 0.25
HEALTHY = 2.0  # acceptance length: one drafted token a round


@dataclass(frozen=True)
class Row:
    """Acceptance with one ingredient changed.

    Attributes:
        ingredient: What was changed.
        served: How a drafter is served.
        instead: The alternative that was measured.
        acceptance_length: Tokens a round with the alternative, bonus included.
        change: What that is more than as served.
        better: Whether it is clearly better.
        advice: What to do if it is.
    """

    ingredient: str
    served: str
    instead: str
    acceptance_length: float
    change: float
    better: bool
    advice: str


@dataclass(frozen=True)
class Diagnosis:
    """A drafter's acceptance as served and with every alternative that applies.

    Attributes:
        kind: The drafter's architecture.
        acceptance_length: Tokens a round as served, bonus included.
        most: Tokens a round at the drafted length, were every draft accepted.
        answers: Answers of the target that were measured.
        rounds: Rounds of decoding them, as served.
        rows: The alternatives.
    """

    kind: str
    acceptance_length: float
    most: int
    answers: int
    rounds: int
    rows: tuple[Row, ...]

    @property
    def found(self) -> Row | None:
        """The alternative that helps most, if it is clearly better than what is served."""
        better = [row for row in self.rows if row.better]
        return max(better, key=lambda row: row.acceptance_length, default=None)

    @property
    def sentence(self) -> str:
        """What is wrong and what to do about it."""
        row, length = self.found, f"{self.acceptance_length:.2f}"
        if row is not None:
            return (
                f"{row.ingredient}: the drafter is served '{row.served}' and does better with "
                f"'{row.instead}', an acceptance length of {row.acceptance_length:.2f} instead of "
                f"{length}; {row.advice}"
            )
        nothing = "nothing wired wrongly found"
        if self.acceptance_length >= HEALTHY:
            return (
                f"{nothing}: {length} of at most {self.most} tokens a round as served, and no "
                "single change is clearly better"
            )
        best = max((row.acceptance_length for row in self.rows), default=self.acceptance_length)
        return (
            f"{nothing}; the drafter is undertrained for this data: an acceptance length of "
            f"{length} as served and at most {best:.2f} with any single change; train it longer, "
            f"on the target's own answers to such inputs (`mmspec train {self.kind}`)"
        )

    def as_rows(self) -> list[dict[str, Any]]:
        """The alternatives for JSON, behind a first row for what is served."""
        first = Row("nothing", "", "", self.acceptance_length, 0.0, False, "")
        return [
            {name: _rounded(value) for name, value in asdict(row).items() if name != "advice"}
            for row in (first, *self.rows)
        ]


def clearly_better(length: float, served: float) -> bool:
    """Whether an alternative wins: by over half a token a round, and by over a quarter."""
    return length > served + MORE_TOKENS and length > served * (1 + MORE_SHARE)


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
