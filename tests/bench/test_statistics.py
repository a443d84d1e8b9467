"""Medians and intervals of paired measurements."""

from __future__ import annotations

import random

import pytest

from mmspec.bench.statistics import mean_with_interval, median_rate, ratio_of_rates


def test_ratio_of_totals_not_mean_of_ratios():
    baseline = [[(1.0, 10), (9.0, 10)]]
    method = [[(1.0, 10), (1.0, 10)]]
    # Mean of ratios would be (1 + 9) / 2; totals give (20 / 2) / (20 / 10).
    assert ratio_of_rates(method, baseline).middle == pytest.approx(5.0)


def test_interval_holds_the_middle_and_narrows_without_noise():
    cells = [[(1.0, 10)] * 8] * 5
    interval = ratio_of_rates(cells, [[(2.0, 10)] * 8] * 5)
    assert interval.low == pytest.approx(interval.high) == pytest.approx(2.0)
    noisy = [[(1.0 + 0.2 * ((i + r) % 3), 10) for i in range(8)] for r in range(5)]
    interval = ratio_of_rates(noisy, cells)
    assert interval.low < interval.middle < interval.high


def test_unpaired_sides_are_refused():
    with pytest.raises(ValueError, match="same repeats and inputs"):
        ratio_of_rates([[(1.0, 1)]], [[(1.0, 1), (1.0, 1)]])


def test_median_rate_is_over_repeats():
    assert median_rate([[(1.0, 10)], [(2.0, 10)], [(10.0, 10)]]) == pytest.approx(5.0)


def test_intervals_of_means_cover_the_truth_about_as_often_as_they_say():
    rng, hits, trials = random.Random(1), 0, 200
    for trial in range(trials):
        values = [rng.gauss(0.3, 1.0) for _ in range(30)]
        interval = mean_with_interval(values, draws=300, seed=trial)
        hits += interval.low <= 0.3 <= interval.high
    assert 0.88 <= hits / trials <= 0.99
    with pytest.raises(ValueError, match="no values"):
        mean_with_interval([])
