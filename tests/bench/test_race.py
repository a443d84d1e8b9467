"""A race on runs whose times are chosen by the test."""

from __future__ import annotations

import pytest
import torch

from mmspec.bench.contenders import Outcome, new_rows
from mmspec.bench.race import Race
from mmspec.bench.standing import standings
from tests.bench.tables import records


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


def test_a_race_runs_everyone_on_everything():
    slow = Scripted("plain", 0.2, [1, 2, 3, 4])
    fast, other = Scripted("fast", 0.1, [1, 2, 3, 4]), Scripted("other", 0.1, [9])
    race = Race([slow, fast, other], "plain")
    race.run([{}, {}, {}], repeats=2, warm_up=1)
    assert [one.calls for one in (slow, fast, other)] == [[0, 1, 2, 0, 1, 2]] * 3
    lines = {line.name: line for line in standings(records(race.entries(), baseline="plain"))}
    assert lines["fast"].speedup.middle == pytest.approx(2.0)
    assert lines["fast"].entry.identical == 1.0
    assert lines["other"].entry.identical == 0.0


def test_slow_contenders_run_on_the_first_inputs_and_are_paired_with_those():
    # The baseline takes ever longer; on the first two inputs it is as fast as the slow one.
    class Tiring(Scripted):
        def run(self, request, seed):
            self.calls.append(seed)
            return Outcome(1.0 if seed < 2 else 5.0, [self.ids])

    tiring, slow = Tiring("plain", 0.0, [1]), Scripted("slow", 1.0, [1])
    race = Race([tiring, slow], "plain", limits={"slow": 2})
    race.run([{}] * 5, repeats=3, warm_up=0)
    assert slow.calls == [0, 1] * 3
    line = standings(records(race.entries(), baseline="plain"))[1]
    assert line.entry.inputs == 2
    assert line.speedup.middle == pytest.approx(1.0)  # 3.4 on all five


def test_rows_end_at_their_first_stop_id():
    generated = torch.tensor([[5, 5, 7, 2, 0], [5, 5, 7, 8, 9]])
    assert new_rows(generated, generated[:, :2], (2,)) == [[7, 2], [7, 8, 9]]
