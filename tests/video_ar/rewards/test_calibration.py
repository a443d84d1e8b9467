"""Thresholds by share: what is refused, and whose table it is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from video_ar.rewards.calibration import Calibration


def scores(count: int = 2000, seed: int = 0) -> list[float]:
    draws = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    found: list[float] = (3 * draws - 40).tolist()
    return found


@pytest.mark.parametrize("share", [0.01, 0.2, 0.28, 0.5, 0.875])
def test_a_threshold_refuses_its_share_of_fresh_blocks(share: float) -> None:
    tau = Calibration.of("spy", scores()).threshold(share)
    fresh = scores(4000, seed=1)
    assert sum(score < tau for score in fresh) / len(fresh) == pytest.approx(share, abs=0.025)


def test_thresholds_are_monotone_and_reach_both_ends() -> None:
    found = scores(37)
    table = Calibration.of("spy", found)
    taus = [table.threshold(share / 200) for share in range(201)]
    assert taus == sorted(taus)
    assert (taus[0], taus[-1]) == (min(found), max(found))
    assert table.count == 37


def test_equal_scores_make_a_flat_table() -> None:
    assert Calibration.of("spy", [0.1] * 7).threshold(0.37) == 0.1


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    table = Calibration.of("image-reward", scores(50), "mean")
    table.save(tmp_path / "table.json")
    assert Calibration.load(tmp_path / "table.json", "image-reward", "mean") == table


def test_a_table_belongs_to_one_scorer_and_aggregate(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    Calibration.of("image-reward", scores(50)).save(path)
    with pytest.raises(ValueError, match="calibrates the min of image-reward, not the min of clip"):
        Calibration.load(path, "clip")
    with pytest.raises(ValueError, match="not the mean of image-reward"):
        Calibration.load(path, "image-reward", "mean")


@pytest.mark.parametrize(
    "change",
    [
        {"levels": [0.0, 0.5, 0.9]},
        {"levels": [0.0, 1.0]},
        {"levels": [0.0, 1.0, 1.0]},
        {"values": [1.0, 0.0, 2.0]},
        {"values": [0.0, math.nan, 2.0]},
        {"values": 3},
        {"extra": 1},
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    good = {
        "scorer": "spy",
        "aggregate": "min",
        "count": 3,
        "levels": [0.0, 0.5, 1.0],
        "values": [0.0, 1.0, 2.0],
    }
    path = tmp_path / "table.json"
    path.write_text(json.dumps(good))
    Calibration.load(path, "spy")
    path.write_text(json.dumps(good | change))
    with pytest.raises(ValueError, match="cannot be read as a calibration"):
        Calibration.load(path, "spy")


def test_other_files_and_shares_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    for name in ("list.json", "absent.json"):
        with pytest.raises(ValueError, match="cannot be read as a calibration"):
            Calibration.load(tmp_path / name, "spy")
    with pytest.raises(ValueError, match="two finite block scores or more"):
        Calibration.of("spy", [1.0])
    with pytest.raises(ValueError, match="two finite block scores or more"):
        Calibration.of("spy", [1.0, math.nan])
    with pytest.raises(ValueError, match="refused must be a number from 0 to 1"):
        Calibration.of("spy", [1.0, 2.0]).threshold(1.2)
