"""What a drafter and a target record of blocks. Blocks have no density that could be compared."""

from __future__ import annotations

from dataclasses import dataclass

from mmspec.distributions import NoTable
from video_ar.agreement import Agreement
from video_ar.preview import Preview
from video_ar.rollout import Rollout
from video_ar.routers import BlockEvidence


class _NoDensity(NoTable):
    """What both records share as laws."""

    no_draw = "a video block comes out of a rollout, not out of one uniform"
    no_probability = "video blocks have no probability that could be told; use a router"


@dataclass(frozen=True)
class Drafted(_NoDensity):
    """How a drafted block came about.

    Attributes:
        rollout: With what entered every step, for the target to go on from.
        seconds: What it took.
    """

    rollout: Rollout
    seconds: float


@dataclass(frozen=True)
class Seen(_NoDensity):
    """What can be known of the next block.

    Attributes:
        view: What a router may look at; None where no block is due, as before the first round.
        preview: Of the drafted block, nothing of it made so far; None without a draft.
        agreement: Of target and drafter, not found out so far; None where the drafter tells nothing
            of its steps.
        written: The block that the target wrote last; None before the first.
        finite: Whether the drafted block holds finite numbers only.
    """

    view: BlockEvidence | None
    preview: Preview | None = None
    agreement: Agreement | None = None
    written: Preview | None = None
    finite: bool = True
