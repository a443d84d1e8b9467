"""Routers against coin tosses of the same cost, on records whose answer is known."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mmspec.bench.equal_time import frontier, gains, verdict
from mmspec.bench.records import Entry, Records
from mmspec.bench.timing import fitted
from tests.bench.tables import records

FILMS = 40


def film(name: str, method: str, seconds: float, quality: Callable[[int], float]) -> Entry:
    values = {"motion": [quality(number) for number in range(FILMS)]}
    return Entry(name, [[(seconds, 6)] * FILMS], method, values=values)


def noisy(mean: float, seed: int) -> Callable[[int], float]:
    rng = random.Random(seed)
    drawn = [mean + rng.gauss(0, 0.1) for _ in range(FILMS)]
    return drawn.__getitem__


def table(*routers: Entry) -> Records:
    """Coin tosses whose quality grows with time by exactly 0.1 a second, prompt by prompt."""
    coins = [
        film(f"random {seconds}", "random", seconds, lambda n, s=seconds: 0.01 * n + 0.1 * s)
        for seconds in (1.0, 2.0, 4.0)
    ]
    base = film("the target alone", "none", 5.0, lambda n: 0.01 * n + 0.5)
    given = {"layout": "video", "baseline": "the target alone", "suite": "video", "name": "video"}
    return records([base, *coins, *routers], **given)


def test_the_reference_is_interpolated_for_every_prompt():
    same = film("same", "sdvg", 3.0, lambda n: 0.01 * n + 0.3)
    better = film("better", "stride", 1.5, lambda n: 0.01 * n + 0.15 + 0.02)
    found = {one.name: one.gain for one in gains(table(same, better), "motion")}
    assert found["same"].middle == pytest.approx(0.0)
    # Prompts differ by far more than the gain, which is the same for all of them.
    assert found["better"].low == pytest.approx(0.02)
    assert found["better"].high == pytest.approx(0.02)


def test_times_outside_of_the_reference_are_not_compared():
    fast = film("fast", "draft-only", 0.5, lambda n: 1.0)
    assert [one.name for one in gains(table(fast), "motion")] == []
    assert "No router took a time" in verdict(table(fast), "motion")


def test_the_verdict_follows_the_intervals():
    def beside(gain: float, seed: int) -> Entry:
        draw = noisy(0.3 + gain, seed)
        return film(f"gain {gain}", "sdvg", 3.0, lambda n: 0.01 * n + draw(n))

    text = verdict(table(beside(0.1, 1), beside(-0.1, 2), beside(0.0, 3)), "motion")
    better, worse, even = (text.index(f"gain {gain}") for gain in (0.1, -0.1, 0.0))
    assert text.index("better than") < better < text.index("worse than") < worse
    assert worse < text.index("not told apart from") < even


def test_the_frontier_holds_what_nothing_beats():
    dominated = film("dominated", "sdvg", 3.0, lambda n: 0.01 * n + 0.1)
    assert frontier(table(dominated), "motion") == [
        "random 1.0",
        "random 2.0",
        "random 4.0",
        "the target alone",
    ]


def worked(seconds: Callable[[float, float], float]) -> Records:
    """Routers with all kinds of work; their time is a function of it."""
    entries = []
    for number, (scored, regenerated) in enumerate(
        [(0, 6), (0, 1), (5, 2), (5, 4), (0, 3), (2, 2)]
    ):
        done = {"blocks": 6, "scored": scored, "regenerated": regenerated, "checked": 0}
        counts = {name: [float(count)] * 4 for name, count in done.items()}
        cells = [[(seconds(scored, regenerated), 6)] * 4]
        entries.append(Entry(f"router {number}", cells, "sdvg", values=counts))
    return records(entries, layout="video", baseline="router 0")


def test_a_linear_time_is_predicted_without_error_by_the_other_routers():
    fit = fitted(worked(lambda scored, made: 6 * 0.2 + 0.05 * scored + 0.7 * made))
    assert fit is not None
    assert (fit.model.base, fit.model.score, fit.model.target) == pytest.approx((0.2, 0.05, 0.7))
    assert max(abs(error) for error in fit.errors) < 1e-9
    assert "0.700 s to be made by the target" in fit.sentence()


def test_a_time_of_another_form_shows_as_error():
    fit = fitted(worked(lambda scored, made: 1 + 0.3 * made * made))
    assert fit is not None
    assert max(abs(error) for error in fit.errors) > 0.1


def test_routers_that_all_do_the_same_have_no_model():
    table = worked(lambda scored, made: 1.0)
    same = [entry for entry in table.entries if entry.name in ("router 0", "router 1")]
    assert fitted(records(same, layout="video", baseline="router 0")) is None
