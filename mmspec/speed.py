"""From two traces to the speed-up that the drafter allows, and the share of it that arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mmspec.trace import Metrics


class Recorded(Protocol):
    """What a run left behind: a :class:`~mmspec.trace.Trace`, or a summary of one."""

    @property
    def metrics(self) -> Metrics:
        """Sums and ratios."""
        ...

    @property
    def row_units(self) -> int:
        """Units that decoding rounds emitted."""
        ...


def ideal_speedup(method: Recorded, plain: Recorded) -> float | None:
    """The speed-up if a round cost nothing but its draft and its verification.

    ``tau / (cost of a round / cost of a plain token)``: tau is the mean number of tokens a row
    gains in a decoding round, a round costs its draft and verify seconds divided by the rows that
    ran, a plain token costs the plain loop's verify seconds divided by its tokens. The divisions by
    rounds cancel, which leaves a ratio of rates. Rounds that read a prompt are left out on both
    sides: no drafter can shorten them.

    On a GPU the phases end when their work is queued, so there the ratio is a rough guide.

    Args:
        method: Of the speculative run.
        plain: Of the plain run on the same inputs.

    Returns:
        The ratio, or None where either run has no decoding round to measure.
    """
    ours, theirs = method.metrics, plain.metrics
    seconds = ours.draft_seconds + ours.verify_seconds
    if not (method.row_units and seconds and plain.row_units and theirs.verify_seconds):
        return None
    return (method.row_units / seconds) / (plain.row_units / theirs.verify_seconds)


def efficiency(measured: float, ideal: float | None) -> float | None:
    """Measured speed-up over the ideal one: what prefill, judging and bookkeeping leave of it."""
    return measured / ideal if ideal else None
