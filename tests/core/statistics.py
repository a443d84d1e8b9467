"""Pearson's test of sampled strings against an exact law."""

from __future__ import annotations

from collections import Counter

from scipy.stats import chi2

from tests.core.exactly import String


def p_value(outputs: list[list[int]], law: dict[String, float]) -> float:
    """How likely a deviation of this size is; strings expected fewer than 5 times share a bin."""
    counts = Counter(tuple(output) for output in outputs)
    if set(counts) - set(law):
        return 0.0
    bins, rare = [], [0.0, 0.0]
    for string, mass in law.items():
        expected, seen = mass * len(outputs), counts[string]
        if expected >= 5:
            bins.append((seen, expected))
        else:
            rare = [rare[0] + seen, rare[1] + expected]
    if rare[1] > 0:
        bins.append((rare[0], rare[1]))
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in bins)
    return float(chi2.sf(statistic, len(bins) - 1))
