"""Routers compared where they take the same time: more target blocks always look better."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from mmspec.bench.records import Entry, Records
from mmspec.bench.statistics import Interval, mean_with_interval

# Routers that look at nothing; with the first block forced they end in `first-block`.
REFERENCE = ("random", "first-block")


@dataclass(frozen=True)
class Gain:
    """One router against coin tosses of the same cost.

    Attributes:
        name: The router and its setting.
        seconds: Of a video.
        gain: Quality minus that of coin tosses at this time, over the same prompts.
    """

    name: str
    seconds: float
    gain: Interval


def gains(records: Records, measure: str, seed: int = 0) -> list[Gain]:
    """Every router whose time lies among those of coin tosses.

    The quality of coin tosses at a time is interpolated between the two settings around it, for
    every prompt by itself; intervals resample prompts.

    Args:
        records: Of a video table; all entries must have run on the same prompts.
        measure: Name of a number by input.
        seed: Of the resampling.
    """
    known = [entry for entry in records.entries if entry.values.get(measure)]
    reference = sorted((one for one in known if one.method in REFERENCE), key=_seconds)
    found = []
    for entry in known:
        if entry.method in REFERENCE or len(reference) < 2:
            continue
        chance = _at(reference, _seconds(entry), measure)
        if chance is None:
            continue
        pairs = zip(entry.values[measure], chance, strict=True)
        found.append(
            Gain(
                entry.name,
                _seconds(entry),
                mean_with_interval([a - b for a, b in pairs], seed=seed),
            )
        )
    return found


def frontier(records: Records, measure: str) -> list[str]:
    """Names of those that no other beats both in time and in mean quality, the fastest first."""
    best, names = float("-inf"), []
    known = [entry for entry in records.entries if entry.values.get(measure)]
    for entry in sorted(known, key=lambda one: (_seconds(one), -fmean(one.values[measure]))):
        if fmean(entry.values[measure]) > best:
            best = fmean(entry.values[measure])
            names.append(entry.name)
    return names


def verdict(records: Records, measure: str) -> str:
    """Which routers beat coin tosses of the same cost, said from the intervals."""
    found, word = gains(records, measure), measure.replace("_", " ")
    if not found:
        return f"No router took a time among those of coin tosses, so none is compared in {word}."
    kinds = {
        "better than": [one for one in found if one.gain.low > 0],
        "worse than": [one for one in found if one.gain.high < 0],
        "not told apart from": [one for one in found if one.gain.low <= 0 <= one.gain.high],
    }
    said = [
        f"{kind} coin tosses: " + ", ".join(f"{one.name} ({_points(one.gain)})" for one in group)
        for kind, group in kinds.items()
        if group
    ]
    best = ", ".join(frontier(records, measure))
    return (
        f"At equal time, {word} in points of 100 [95 %], "
        + "; ".join(said)
        + f". No other is both faster and better than: {best}."
    )


def _points(gain: Interval) -> str:
    return f"{100 * gain.middle:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def _seconds(entry: Entry) -> float:
    return fmean(spent for row in entry.cells for spent, _ in row)


def _at(reference: Sequence[Entry], seconds: float, measure: str) -> list[float] | None:
    """The reference's number for every prompt at a time; None outside of its times."""
    times = [_seconds(one) for one in reference]
    after = bisect_left(times, seconds)
    if after == len(times) or (after == 0 and times[0] != seconds):
        return None
    before = max(after - 1, 0)
    span = times[after] - times[before]
    weight = (seconds - times[before]) / span if span else 1.0
    pairs = zip(reference[before].values[measure], reference[after].values[measure], strict=True)
    return [(1 - weight) * one + weight * other for one, other in pairs]
