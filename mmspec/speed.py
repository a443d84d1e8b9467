"""From two traces to the speed-up that the drafter would allow, and the share of it that arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmspec.trace import Trace


def ideal_speedup(method: Trace, plain: Trace) -> float | None:
    """The speed-up if a round cost nothing but its draft and its verification.

    ``tau / (cost of a round / cost of a plain token)``: tau is the mean number of tokens a row
    gains in a decoding round, a round costs its draft and verify seconds divided by the rows that
    ran, a plain token costs the plain loop's verify seconds divided by its tokens. The divisions by
    rounds cancel, which leaves a ratio of rates. Rounds that read a prompt are left out on both
    sides: no drafter can shorten them.

    Args:
        method: Trace of the speculative run.
        plain: Trace of the plain run on the same inputs.

    Returns:
        The ratio, or None where either run has no decoding round to measure.
    """
    tokens, seconds = _decoding(method, ("draft", "verify"))
    plain_tokens, plain_seconds = _decoding(plain, ("verify",))
    if not (tokens and seconds and plain_tokens and plain_seconds):
        return None
    return (tokens / seconds) / (plain_tokens / plain_seconds)


def efficiency(measured: float, ideal: float | None) -> float | None:
    """Measured speed-up over the ideal one: what prefill, judging and bookkeeping leave of it."""
    return measured / ideal if ideal else None


def _decoding(trace: Trace, phases: tuple[str, ...]) -> tuple[int, float]:
    """Tokens emitted by rounds that read no prompt, and their seconds in ``phases``."""
    rounds = [record for record in trace.rounds if "prefill" not in record.seconds]
    seconds = sum(record.seconds.get(phase, 0.0) for record in rounds for phase in phases)
    return sum(record.emitted for record in rounds), seconds
