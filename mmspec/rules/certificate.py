"""What a rule promises about the output law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Certificate:
    """The promise a rule makes, shown with every result.

    Attributes:
        kind: ``exact`` (the output law is the target's), ``bounded`` (its distance is bounded, the
            text says how) or ``lossy`` (no bound; the text says why).
        why: One sentence a user can read.
    """

    kind: Literal["exact", "bounded", "lossy"]
    why: str

    @property
    def lossless(self) -> bool:
        """True for exact rules only."""
        return self.kind == "exact"

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"
