"""Medians and intervals of interleaved, paired measurements."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """A middle with its 95 % bootstrap interval."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return self.text(".2f")

    def text(self, pattern: str) -> str:
        """``middle [low, high]`` in a number format."""
        return f"{self.middle:{pattern}} [{self.low:{pattern}}, {self.high:{pattern}}]"


def ratio_of_rates(
    method: Sequence[Sequence[tuple[float, int]]],
    baseline: Sequence[Sequence[tuple[float, int]]],
    draws: int = DRAWS,
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
    samples = [
        ratio(rng.choices(range(repeats), k=repeats), rng.choices(everything, k=inputs))
        for _ in range(draws)
    ]
    return _interval(middle, samples)


def mean_with_interval(values: Sequence[float], draws: int = DRAWS, seed: int = 0) -> Interval:
    """The mean over inputs; its interval resamples them.

    Raises:
        ValueError: No value.
    """
    if not values:
        raise ValueError("the mean of no values was asked for")
    rng = random.Random(seed)
    return _interval(
        fmean(values), [fmean(rng.choices(values, k=len(values))) for _ in range(draws)]
    )


def median_rate(cells: Sequence[Sequence[tuple[float, int]]]) -> float:
    """Median over repeats of total tokens over total seconds."""
    return median(
        sum(tokens for _, tokens in row) / sum(seconds for seconds, _ in row) for row in cells
    )


def _interval(middle: float, samples: list[float]) -> Interval:
    """The middle, and the samples' 2.5 % and 97.5 % points."""
    ranked = sorted(samples)
    return Interval(middle, ranked[int(0.025 * len(ranked))], ranked[int(0.975 * len(ranked)) - 1])
