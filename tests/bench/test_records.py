"""Records on disk."""

from __future__ import annotations

import json

import pytest

from mmspec.bench.records import Loop, Records, read_folder
from mmspec.messages import Commit
from mmspec.trace import Trace
from tests.bench.tables import ORIGIN, drafted, plain, records


def test_what_is_written_is_read_back(tmp_path):
    other = drafted("theirs", values={"attribute_accuracy": [0.5, 1.0, 1.0, 0.0]})
    table = records([plain(), drafted(figures={"batch_ratio": 0.5}), other])
    path = table.write(tmp_path)
    assert Records.read(path) == table
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["provenance"] == ORIGIN
    assert sum(line["kind"] == "run" for line in lines) == 3 * 2


def _shorter(text: str) -> str:
    return text[: len(text) // 2]


def _without_runs(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if '"kind": "run"' not in line)


def _another_table(text: str) -> str:
    return text.replace('"version": 1', '"version": 99')


def _no_baseline(text: str) -> str:
    return text.replace('"baseline": "plain loop"', '"baseline": "gone"')


@pytest.mark.parametrize(
    "damage",
    [_shorter, _without_runs, _another_table, _no_baseline, lambda _: "", lambda _: "[]\n"],
)
def test_damaged_records_give_one_sentence_with_the_fix(tmp_path, damage):
    path = records([plain(), drafted()]).write(tmp_path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match="measure that suite again") as caught:
        Records.read(path)
    assert str(path) in str(caught.value)


def test_a_folder_without_records_says_how_to_get_some(tmp_path):
    with pytest.raises(ValueError, match="mmspec bench"):
        read_folder(tmp_path)


def test_tables_come_in_the_order_of_their_numbers(tmp_path):
    names = ["caption-greedy", "pacing-batch-1", "pacing-batch-4", "pacing-batch-16"]
    for name in reversed(names):
        records([plain()], name=name).write(tmp_path)
    assert [table.name for table in read_folder(tmp_path)] == names


def _commit(emitted: int, drafted: int, accepted: int) -> Commit:
    return Commit(
        units=[list(range(emitted))],
        accepted=[accepted],
        corrected=[False],
        probability=[[None] * emitted],
        drafted=[drafted],
        depth=drafted,
        finished=[False],
        active=[True],
    )


def test_a_trace_is_summed_up_without_its_prefill():
    trace = Trace()
    trace.begin(1)
    with trace.clock("prefill"):
        pass
    trace.record(_commit(1, 0, 0), "test")
    for drafts, kept in ((4, 2), (4, 4), (1, 0)):
        with trace.clock("verify"):
            pass
        trace.record(_commit(kept + 1, drafts, kept), "test")
    trace.end()
    loop = Loop.of(trace)
    assert loop.depth == pytest.approx(3.0)
    assert [(size, rounds) for size, rounds, _ in loop.costs] == [(2.0, 1), (5.0, 2)]
    assert loop.by_position == pytest.approx([2 / 3, 1.0, 0.5, 0.5])
    assert loop.row_units == 9
