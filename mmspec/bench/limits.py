"""What holds each method back, in sentences that follow from its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmspec.bench.standing import Standing
from mmspec.bench.work import (
    COMMITTING,
    DECODING,
    DRAFTING,
    JUDGING,
    LOOKING,
    READING,
    REST,
    SCORING,
    TARGET,
    time_shares,
)

_SHOWN = 3  # reliefs a sentence names
_FREE = {
    READING: "if prompts were read in no time",
    DRAFTING: "if drafts cost nothing",
    SCORING: "if scores cost nothing",
    LOOKING: "if the target looked at drafts for free",
    TARGET: "if the target wrote no block",
    DECODING: "if decoding cost nothing",
    JUDGING: "if judging cost nothing",
    COMMITTING: "if committing and redrawing cost nothing",
    REST: "if bookkeeping cost nothing",
}


@dataclass(frozen=True)
class Relief:
    """What a method's speedup would be without one of its costs, all else being equal."""

    condition: str
    speedup: float


def reliefs(standing: Standing) -> list[Relief]:
    """The costs of a method, each taken away by itself; the one that gains most comes first.

    With ``T`` the method's time and ``T'`` the time that is left, the speedup becomes
    ``speedup * T / T'``. Most costs go away altogether; checking a draft comes down to the price of
    a plain pass; full acceptance makes rounds as few as units over the mean length of a draft plus
    one.
    """
    shares = time_shares(standing.entry)
    found = []

    def relieve(condition: str, saved: float) -> None:
        if 0 < saved < 1:
            found.append(Relief(condition, standing.speedup.middle / (1 - saved)))

    for kind, share in shares.items():
        if kind in _FREE:
            relieve(_FREE[kind], share)
    loop, cost = standing.entry.loop, standing.round_cost
    if loop is not None and TARGET not in shares and loop.depth:
        metrics = loop.metrics
        if cost is not None:
            saved = metrics.verify_seconds * (1 - 1 / cost) / metrics.seconds if cost > 1 else 0.0
            relieve("if checking a draft cost no more than a plain pass", saved)
        kept = metrics.acceptance_length / (1 + loop.depth)
        decoding = 1 - shares[READING]
        relieve("if every draft were accepted", decoding * (1 - kept))
    return sorted(found, key=lambda relief: -relief.speedup)


def sentence(standing: Standing) -> str:
    """What was measured of a method, where its time goes, and what would help it most."""
    parts = [f"**{standing.name}**: {standing.speedup} times the baseline"]
    ideal, gained = standing.ideal, standing.efficiency
    shares = time_shares(standing.entry)
    if TARGET not in shares and ideal is not None and gained is not None:
        parts[0] += f", {gained:.0%} of the {ideal:.2f} that its acceptance and its costs allow"
    if not shares:
        return f"{parts[0]}. It is not our loop, so where its time goes is not recorded."
    parts += _acceptance(standing)
    spent = ", ".join(f"{share:.0%} {kind}" for kind, share in shares.items() if share >= 0.005)
    parts.append(f"Its time: {spent}")
    return ". ".join([*parts, _next(standing)]) + "."


def sentences(rows: Sequence[Standing]) -> list[str]:
    """One a method, without the baseline."""
    return [sentence(row) for row in rows if row.entry is not row.plain]


def _acceptance(standing: Standing) -> list[str]:
    """How many units a pass yields, and how that falls along the draft."""
    loop = standing.entry.loop
    if loop is None or not loop.by_position or "target" in standing.entry.values:
        return []
    kept, places = loop.by_position, len(loop.by_position)
    text = f"A pass yields {loop.metrics.acceptance_length:.2f} of {1 + loop.depth:.1f} units"
    if places == 1:
        return [f"{text}; the drafted one is kept in {kept[0]:.0%} of rounds"]
    last = f"place {places} in {kept[-1]:.0%}"
    return [f"{text}; the first drafted place is kept in {kept[0]:.0%} of rounds, {last}"]


def _next(standing: Standing) -> str:
    """The reliefs that gain most, as far as the measurement can tell them from nothing."""
    found = [one for one in reliefs(standing) if one.speedup > standing.speedup.high]
    if not found:
        return "Taking away any one of its costs would gain less than the interval is wide"
    first, *others = found[:_SHOWN]
    text = f"What holds it back most: it would be at {first.speedup:.2f} {first.condition}"
    return text + "".join(f", at {one.speedup:.2f} {one.condition}" for one in others)
