"""The time model finds planted costs, and reads the published table as its authors' program ran."""

from __future__ import annotations

import math

import pytest
import torch

from tests.video_ar.toy import Brightness, ToyModel, engine, film
from video_ar.reporting import BlockRecord
from video_ar.routers import Forced, Router, TargetCheck, Threshold
from video_ar.time_model import Record, TimeModel

# 9 blocks, 8 scored; SDVG's table: accept rate over all blocks, seconds.
TABLE = {-0.7: (0.731, 60.9), -1.0: (0.780, 57.2), -1.5: (0.834, 51.6), -2.0: (0.875, 47.4)}
FORCED_ONLY = Record(9, 0, 1, 43.8)


def published(tau: float) -> Record:
    accept, seconds = TABLE[tau]
    return Record(9, 8, 9 * (1 - accept), seconds)


def test_planted_costs_are_found() -> None:
    truth = TimeModel(base=3.7, score=0.29, target=10.4)
    rows = [(9, 8, 3), (9, 0, 1), (5, 4, 2), (9, 8, 9), (12, 0, 12)]
    exact = [Record(*row, truth.seconds(*row)) for row in rows]
    found = TimeModel.fit(exact)
    assert (found.base, found.score, found.target) == pytest.approx((3.7, 0.29, 10.4))
    assert found.errors(exact) == pytest.approx([0.0] * 5, abs=1e-12)


def test_checks_are_work_of_their_own() -> None:
    truth = TimeModel(base=3.7, score=0.3, target=10.4, check=2.9)
    rows = [(9, 8, 3, 0), (9, 0, 1, 0), (9, 0, 1.5, 8), (9, 0, 2.5, 8), (5, 0, 2, 4)]
    exact = [Record(*row[:3], truth.seconds(*row), row[3]) for row in rows]
    found = TimeModel.fit(exact)
    assert found.check == pytest.approx(2.9)
    assert found.errors(exact) == pytest.approx([0.0] * 5, abs=1e-12)
    spare = found.regenerated(80.0, 9, 0) - found.regenerated(80.0, 9, 0, checked=8)
    assert spare == pytest.approx(8 * 2.9 / 10.4)


def test_records_tell_what_was_done() -> None:
    def made(router: Router, start_step: int) -> list[BlockRecord]:
        scorer = Brightness() if router.needs_scores else None
        runner = engine(ToyModel(0.9), ToyModel(0.2), Forced({0}, router), scorer, start_step)
        return film(runner).records

    # The forced block; of six others, a check of the second step and two more steps.
    checked = Record.of(made(TargetCheck(math.inf, 1), 1), 4, 2.0)
    assert checked == Record(7, 0, 1 + 6 * 0.5, 2.0, 6)
    assert Record.of(made(Threshold(math.inf), 3), 4, 2.0) == Record(7, 6, 1 + 6 * 0.25, 2.0)
    assert Record.of(made(Threshold(-math.inf), 0), 4, 2.0) == Record(7, 6, 1, 2.0)


def test_noise_averages_out() -> None:
    truth, noise = TimeModel(3.7, 0.29, 10.4), torch.Generator().manual_seed(1)
    records = []
    for video in range(400):
        row = (9, 8 if video % 2 else 0, 1 + video % 7)
        wobble = float(torch.randn((), generator=noise))
        records.append(Record(*row, truth.seconds(*row) + wobble))
    found = TimeModel.fit(records)
    assert (found.base, found.target) == pytest.approx((3.7, 10.4), rel=0.02)
    assert found.score == pytest.approx(0.29, abs=0.05)


def test_published_table() -> None:
    model = TimeModel.fit([published(-0.7), published(-2.0), FORCED_ONLY])
    assert model.target == pytest.approx(10.4, abs=0.05)
    assert model.base == pytest.approx(3.7, abs=0.05)
    assert model.score == pytest.approx(0.3, abs=0.05)
    others = [published(-1.0), published(-1.5), Record(9, 0, 9 * (1 - 0.703), 58.2)]
    assert model.errors(others) == pytest.approx([0.0] * 3, abs=0.06)


def test_equal_time_lets_a_router_without_scores_regenerate_more() -> None:
    model = TimeModel(3.7, 0.3, 10.4)
    spent = model.seconds(9, 8, 2.4)
    assert model.regenerated(spent, 9, 8) == pytest.approx(2.4)
    assert model.regenerated(spent, 9, 0) == pytest.approx(2.4 + 8 * 0.3 / 10.4)
    assert model.regenerated(1.0, 9, 0) == 0.0
    assert model.regenerated(1e6, 9, 0) == 9.0


def test_work_that_no_record_has_costs_nothing() -> None:
    model = TimeModel.fit([Record(9, 0, 0, 18.0), Record(9, 0, 9, 108.0)])
    assert (model.base, model.score, model.target) == pytest.approx((2.0, 0.0, 10.0))


def test_records_that_tell_nothing_apart_are_refused() -> None:
    same = [Record(9, 8, 3, 60.0), Record(9, 8, 3, 61.0), Record(18, 16, 6, 121.0)]
    with pytest.raises(ValueError, match="cannot tell the costs of blocks, scored, regenerated"):
        TimeModel.fit(same)
    with pytest.raises(ValueError, match="0 records cannot tell the costs of anything"):
        TimeModel.fit([])
    with pytest.raises(ValueError, match="costs 0 s"):
        TimeModel(1.0, 0.0, 0.0).regenerated(5.0, 9, 0)
