"""Medians and intervals of interleaved, paired timings."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Interval:
    """A median with its 95 % bootstrap interval."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ratio_of_rates(
    method: Sequence[Sequence[tuple[float, int]]],
    baseline: Sequence[Sequence[tuple[float, int]]],
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """How many times more tokens per second, paired by input and repeat.

    Args:
        method: ``[repeat][input] = (seconds, tokens)``.
        baseline: The same shape: the same inputs in the same order.
        draws: Bootstrap resamples; inputs and repeats are both resampled, pairs kept together.
        seed: Seed of the resampling.

    Returns:
        The ratio of total tokens over total seconds (never a mean of ratios); the middle is the
        median over repeats.

    Raises:
        ValueError: The two sides do not pair up.
    """
    if len(method) != len(baseline) or any(
        len(a) != len(b) for a, b in zip(method, baseline, strict=True)
    ):
        raise ValueError("method and baseline must hold the same repeats and inputs")
    repeats, inputs = len(method), len(method[0])

    def ratio(rows: Sequence[int], columns: Sequence[int]) -> float:
        def rate(table: Sequence[Sequence[tuple[float, int]]]) -> float:
            cells = [table[row][column] for row in rows for column in columns]
            return sum(tokens for _, tokens in cells) / sum(seconds for seconds, _ in cells)

        return rate(method) / rate(baseline)

    everything = range(inputs)
    middle = median(ratio([row], everything) for row in range(repeats))
    rng = random.Random(seed)
    samples = sorted(
        ratio(rng.choices(range(repeats), k=repeats), rng.choices(everything, k=inputs))
        for _ in range(draws)
    )
    return Interval(middle, samples[int(0.025 * draws)], samples[int(0.975 * draws) - 1])


def median_rate(cells: Sequence[Sequence[tuple[float, int]]]) -> float:
    """Median over repeats of total tokens over total seconds."""
    return median(
        sum(tokens for _, tokens in row) / sum(seconds for seconds, _ in row) for row in cells
    )
