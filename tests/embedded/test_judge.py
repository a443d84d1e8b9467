"""The embedded judge: within its budget, right about real renders, worn ones and broken ones."""

from __future__ import annotations

import pytest

from adapters.tiny.images.judge import WEIGHTS, load_judge, see
from adapters.tiny.images.pictures import image_scene, picture
from adapters.tiny.images.train_judge import broken_rejected, judge_accuracy
from adapters.tiny.images.wear import ARTEFACTS, wear


@pytest.fixture(scope="module")
def judge():
    return load_judge()


def test_budget(judge) -> None:
    assert sum(parameter.numel() for parameter in judge.parameters()) <= 500_000
    assert (WEIGHTS / "model.safetensors").stat().st_size <= 1_000_000
    assert (WEIGHTS / "README.md").exists()


def test_real_renders_are_read_right(judge) -> None:
    assert min(judge_accuracy(judge, 200).values()) >= 0.98


@pytest.mark.parametrize("name", ARTEFACTS)
def test_worn_pictures_are_read_right(judge, name: str) -> None:
    scores = judge_accuracy(judge, 60, ARTEFACTS[name])
    assert min(value for key, value in scores.items() if key != "picture") >= 0.96


def test_several_artefacts_at_once(judge) -> None:
    scores = judge_accuracy(judge, 60, lambda pixels, generator: wear(pixels, generator, clean=0))
    assert min(value for key, value in scores.items() if key != "picture") >= 0.94


def test_broken_things_are_no_things(judge) -> None:
    assert broken_rejected(judge, 100) >= 0.95


def test_scenes_of_the_image_models_are_seen_as_they_are(judge) -> None:
    scenes = [image_scene(seed, held_out=True) for seed in range(100)]
    seen = see(judge, [picture(scene) for scene in scenes])
    assert sum(one.scene == scene for one, scene in zip(seen, scenes, strict=True)) >= 98
