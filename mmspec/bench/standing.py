"""From raw records to the figures of a table."""

from __future__ import annotations

from dataclasses import dataclass

from mmspec.bench.records import Entry, Records
from mmspec.bench.statistics import Interval, mean_with_interval, median_rate, ratio_of_rates
from mmspec.speed import efficiency, ideal_speedup


@dataclass(frozen=True)
class Standing:
    """One contender beside the baseline.

    Attributes:
        entry: What was measured.
        plain: The baseline's entry.
        rate: Units a second, median over repeats.
        speedup: Units per second over the baseline's on the same inputs, paired.
    """

    entry: Entry
    plain: Entry
    rate: float
    speedup: Interval

    @property
    def name(self) -> str:
        """Of the contender."""
        return self.entry.name

    @property
    def inputs_per_second(self) -> float:
        """Median over repeats."""
        return median_rate([[(seconds, 1) for seconds, _ in row] for row in self.entry.cells])

    @property
    def acceptance_length(self) -> float | None:
        """Units per pass of the target, bonus included; None where nothing was recorded."""
        return self.entry.loop.metrics.acceptance_length if self.entry.loop else None

    @property
    def ideal(self) -> float | None:
        """Speedup that acceptance and measured costs allow, see :mod:`mmspec.speed`."""
        if self.entry.loop is None or self.plain.loop is None:
            return None
        return ideal_speedup(self.entry.loop, self.plain.loop)

    @property
    def efficiency(self) -> float | None:
        """Measured over ideal speedup."""
        return efficiency(self.speedup.middle, self.ideal)

    @property
    def draft_share(self) -> float | None:
        """Share of the time spent drafting."""
        loop = self.entry.loop
        return loop.metrics.draft_seconds / loop.metrics.seconds if loop else None

    @property
    def passes(self) -> float | None:
        """Passes of the target an input."""
        loop, cells = self.entry.loop, self.entry.cells
        runs = sum(len(row) for row in cells)
        return loop.metrics.target_forwards / runs if loop else None

    @property
    def round_cost(self) -> float | None:
        """Seconds of checking a drafted block over those of a plain pass."""
        ours, theirs = self.entry.loop, self.plain.loop
        if ours is None or theirs is None or not (ours.metrics.rounds and theirs.metrics.rounds):
            return None
        plain = theirs.metrics.verify_seconds / theirs.metrics.rounds
        return ours.metrics.verify_seconds / ours.metrics.rounds / plain if plain else None

    def mean(self, value: str) -> Interval | None:
        """Mean over inputs of a number that every input has; None where it was not measured."""
        numbers = self.entry.values.get(value)
        return mean_with_interval(numbers) if numbers else None


def standings(records: Records) -> list[Standing]:
    """One a contender, in the order of the records; none where there is no baseline."""
    plain = records.plain
    if plain is None:
        return []
    return [_standing(entry, plain) for entry in records.entries]


def _standing(entry: Entry, plain: Entry) -> Standing:
    base = [row[: entry.inputs] for row in plain.cells]
    return Standing(entry, plain, median_rate(entry.cells), ratio_of_rates(entry.cells, base))
