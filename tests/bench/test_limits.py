"""What holds a method back follows from its figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmspec.bench.limits import reliefs, sentence, sentences
from mmspec.bench.records import Entry
from mmspec.bench.standing import Standing, standings
from mmspec.bench.work import time_shares
from tests.bench.tables import drafted, entry, loop, plain, records


def standing(one: Entry) -> Standing:
    return standings(records([plain(), one]))[1]


def test_shares_are_of_the_wall_clock_and_add_up_to_one():
    shares = time_shares(drafted())
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["drafting"] == pytest.approx(0.25)
    assert shares["the rest"] == pytest.approx(0.1)


def test_shares_of_a_video_come_from_its_blocks():
    stages = {"draft": [0.1] * 4, "score": [0.05] * 4, "target": [0.2] * 4, "decode": [0.1] * 4}
    shares = time_shares(entry("sdvg", 0.5, "sdvg", values=stages))
    assert shares["the target's blocks"] == pytest.approx(0.4)
    assert shares["the rest"] == pytest.approx(0.1)


def test_every_relief_is_the_speedup_without_that_cost():
    found = {one.condition: one.speedup for one in reliefs(standing(drafted()))}
    assert found == {
        # 4 s in all; 1 s of drafts, 2.4 s of checks at 1.5 plain passes, 0.2 s of prompts.
        "if drafts cost nothing": pytest.approx(2 * 4 / 3),
        "if checking a draft cost no more than a plain pass": pytest.approx(2 * 4 / 3.2),
        "if prompts were read in no time": pytest.approx(2 * 4 / 3.8),
        "if bookkeeping cost nothing": pytest.approx(2 * 4 / 3.6),
        # 5 of 7 units a round: decoding shrinks to 5/7 of its time.
        "if every draft were accepted": pytest.approx(2 * 4 / (4 - 3.8 * 2 / 7)),
    }


@pytest.mark.parametrize(
    ("draft", "verify", "by_far"),
    [
        (3.0, 0.6, "if drafts cost nothing"),
        (0.1, 3.8, "if checking a draft cost no more than a plain pass"),
    ],
)
def test_the_limit_named_first_follows_the_figures(draft, verify, by_far):
    heavy = loop(4.0, draft, verify, rounds=12, units=80, depth=6.0, by_position=(0.99,) * 6)
    text = sentence(standing(replace(drafted(), loop=heavy)))
    assert by_far in text.split("What holds it back most: ")[1].split(",")[0]


def test_what_is_within_the_noise_is_no_limit():
    cells = [[(0.3, 10), (0.7, 10), (0.3, 10), (0.7, 10)], [(1.2, 10)] * 4]
    nothing = loop(4.0, 0.02, 3.9, rounds=80, units=80)
    text = sentence(standing(replace(drafted(), cells=cells, loop=nothing)))
    assert "less than the interval is wide" in text


def test_other_programs_are_not_judged_and_the_baseline_is_left_out():
    rows = standings(records([plain(), drafted(), entry("transformers generate", 1.0)]))
    lines = sentences(rows)
    assert len(lines) == 2
    assert "not our loop" in lines[1]
