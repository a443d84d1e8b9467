"""Statistics and standings of a race, on runs whose times are chosen by the test."""

from __future__ import annotations

import json

import pytest
import torch

from mmspec.bench.contenders import Outcome, new_rows
from mmspec.bench.race import Race, markdown
from mmspec.bench.statistics import median_rate, ratio_of_rates


class Scripted:
    """Takes a fixed time for a token and writes fixed ids."""

    def __init__(self, name: str, seconds: float, ids: list[int]) -> None:
        self.name, self.seconds, self.ids = name, seconds, ids
        self.calls: list[int] = []

    def run(self, request, seed):
        self.calls.append(seed)
        return Outcome(self.seconds * len(self.ids), [self.ids])

    def forget(self):
        self.calls.clear()


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


def test_a_race_runs_everyone_on_everything_and_reports(tmp_path):
    slow = Scripted("plain", 0.2, [1, 2, 3, 4])
    fast, other = Scripted("fast", 0.1, [1, 2, 3, 4]), Scripted("other", 0.1, [9])
    race = Race([slow, fast, other], "plain")
    race.run([{}, {}, {}], repeats=2, warm_up=1)
    assert [len(c.calls) for c in (slow, fast, other)] == [6, 6, 6]
    by_name = {standing.name: standing for standing in race.standings()}
    assert by_name["fast"].speedup.middle == pytest.approx(2.0)
    assert by_name["fast"].identical == 1.0
    assert by_name["other"].identical == 0.0
    table = markdown(race.standings())
    assert table.count("\n") == 4
    assert "| fast | 10 | 2.00 [2.00, 2.00]" in table
    race.write(tmp_path / "raw.jsonl", {"commit": None})
    lines = [json.loads(line) for line in (tmp_path / "raw.jsonl").read_text().splitlines()]
    assert sum("repeat" in line for line in lines) == 6


def test_rows_end_at_their_first_stop_id():
    generated = torch.tensor([[5, 5, 7, 2, 0], [5, 5, 7, 8, 9]])
    assert new_rows(generated, generated[:, :2], (2,)) == [[7, 2], [7, 8, 9]]
