"""The film suite on tiny random models: who made which block, times, and what is read twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmspec import catalog
from mmspec.bench import charts, video
from mmspec.bench.plan import Settings, Size
from mmspec.bench.records import Records
from mmspec.bench.report import draw
from mmspec.bench.video import VideoBench
from mmspec.bench.video_suite import filmed
from mmspec.bench.work import STAGES
from tests.core.video_target import BLOCKS, tiny_target
from video_ar.rewards.sharpness import NegativeTotalVariation

FILMS = 2
read: list[str] = []


def judge(prompts, films):
    """Stands in for the small world's judge: brightness."""
    read.extend(prompts)
    return {"attribute_accuracy": float(films[0].mean()), "motion": float(films[0].std())}


@pytest.fixture(scope="module")
def table() -> Records:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "VIDEO_SCORER", f"{__name__}:judge")
        patch.setitem(catalog.REWARDS, "judge", f"{__name__}:NegativeTotalVariation")
        patch.setattr(video, "CALIBRATION_FILMS", 1)
        patch.setattr(video, "RATES", (0.2, 0.8))
        patch.setattr(video, "HYBRID_RATES", (0.5,))
        patch.setattr(video, "KEPT", (0.4,))
        patch.setattr(video, "STRIDES", (2,))
        patch.setattr(video, "BUDGETS", (2,))
        torch.manual_seed(0)
        steps = (1000, 750, 500, 250)
        target, drafter = tiny_target(0, steps), tiny_target(1, steps)
        bench, settings = VideoBench(films=FILMS), Settings(Size(FILMS))
        return filmed(bench, target, drafter, settings)


def values(table: Records, name: str) -> dict[str, list[float]]:
    return {entry.name: list(entry.values[name]) for entry in table.entries}


def modelled(table: Records) -> Records:
    """Without drafters that the others do not have."""
    return replace(table, entries=[one for one in table.entries if "scored" in one.values])


def test_every_router_takes_part(table):
    methods = {row.name for row in catalog.methods("video") if row.build}
    assert methods - {entry.method for entry in table.entries} == set()
    assert len({entry.name for entry in table.entries}) == len(table.entries)


def test_who_made_the_blocks(table):
    shares = values(table, "target_share")
    assert shares[video.BASELINE] == [1.0] * FILMS
    assert shares["draft-only"] == [0.0] * FILMS
    assert shares["first-block"] == [1 / BLOCKS] * FILMS
    assert shares["budget blocks=2"] == [2 / BLOCKS] * FILMS
    for name in (video.ALL_STEPS, video.ONE_STEP):
        assert shares[name] == [1 / BLOCKS] * FILMS
    scored = values(modelled(table), "scored")
    assert scored["random rate=0.2"] == [0.0] * FILMS
    assert max(scored["sdvg by rate 0.4"]) == BLOCKS - 1


def test_stages_fit_into_the_time(table):
    for entry in table.entries:
        for film, (seconds, units) in enumerate(entry.cells[0]):
            assert 0 < sum(entry.values[stage][film] for stage in STAGES) <= seconds
            assert units == BLOCKS


def test_films_that_are_the_same_are_read_once(table):
    """Two routers that decide alike make the same film, so their numbers are equal."""
    # The first block and no other.
    entries = modelled(table).entries
    same = [entry for entry in entries if entry.values["regenerated"] == [1.0] * FILMS]
    assert len({entry.values["attribute_accuracy"][0] for entry in same}) == 1
    assert FILMS < len(read) < len(table.entries) * FILMS


def test_films_of_another_drafter_are_others(table):
    """They are read by themselves, and their costs are left out of the time model."""
    bright = values(table, "attribute_accuracy")
    films = {tuple(bright[name]) for name in ("first-block", video.ALL_STEPS, video.ONE_STEP)}
    assert len(films) == 2  # the small drafter runs all of its steps anyway
    assert bright[video.ALL_STEPS] == bright["first-block"]
    left = {one.name for one in table.entries} - {one.name for one in modelled(table).entries}
    assert left == {video.ALL_STEPS, video.ONE_STEP}


def test_the_report_names_routers_at_equal_time(table, tmp_path):
    table.write(tmp_path)
    block = draw(tmp_path)["video"]
    page = (tmp_path / "report.md").read_text()
    assert "| draft-only | 2 | 0% |" in block
    assert "No other is both faster and better" in page or "No router took a time" in page
    assert (tmp_path / "video-quality.png").is_file()


def test_what_lies_far_below_is_said_and_not_drawn(table):
    """One poor method does not press all others together."""
    entries = [
        replace(one, values={**one.values, "attribute_accuracy": [low] * FILMS})
        for one in table.entries
        for low in (0.1 if one.name == "draft-only" else 0.9,)
    ]
    panel = charts.quality(replace(table, entries=entries)).axes[0]
    assert panel.get_ylim()[0] > 80
    assert any("draft-only, 10%" in text.get_text() for text in panel.texts)
    even = [
        replace(one, values={**one.values, "attribute_accuracy": [0.9] * FILMS}) for one in entries
    ]
    assert not charts.quality(replace(table, entries=even)).axes[0].texts


def test_other_models_cannot_be_judged():
    with pytest.raises(ValueError, match="'wan-14b' cannot be judged; measure one of tiny-video"):
        VideoBench("wan-14b")


__all__ = ["NegativeTotalVariation"]
