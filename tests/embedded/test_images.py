"""The embedded image models draw what they were measured to draw, with and without drafts."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.tiny.images.scoring import score_pictures
from mmspec import catalog, pipeline

PROMPTS = [
    "a large red circle above a small blue square",
    "two red squares and a green circle",
    "a small striped purple square in the upper left corner",
    "three stars on a mint background",
]
CELLS = 256
# Passes a picture that `mmspec bench image` recorded, and how far a few prompts may stray.
MOST_PASSES = {"sjd": 72, "scd": 64, "gsd": 64, "image-eagle": 110, "mulo": 144}


def test_weights_stay_small() -> None:
    root = Path(catalog.resolve("adapters.tiny:folder")("llamagen")).parent
    models = {name: parts for name, parts in catalog.EMBEDDED_IMAGES.items() if "mar" not in name}
    parts = {part for model in models.values() for part in model.values()}
    files = [
        file
        for part in (*parts, "upsampler", "judge")
        for file in (root / part).rglob("*.safetensors")
    ]
    assert len(files) == 8
    assert sum(file.stat().st_size for file in files) < 12e6
    for part in (*parts, "upsampler", "judge"):
        assert (root / part / "README.md").is_file()


@pytest.fixture(scope="module")
def plain():
    return pipeline("image", model="tiny", method="none")


@pytest.mark.parametrize("method", ["sjd", "scd", "image-eagle"])
def test_exact_methods_draw_the_same_greedily(method: str, plain) -> None:
    paint = pipeline("image", model="tiny", method=method, strict=True)
    ours = paint(PROMPTS[:2], temperature=0.0, seed=0, batch_size=2)
    theirs = plain(PROMPTS[:2], temperature=0.0, seed=0, batch_size=2)
    assert [one.tokens for one in ours.outputs] == [one.tokens for one in theirs.outputs]
    assert ours.lossless


@pytest.mark.parametrize("method", MOST_PASSES)
def test_methods_save_the_passes_they_were_measured_to_save(method: str) -> None:
    result = pipeline("image", model="tiny", method=method, strict=True)(PROMPTS, seed=1)
    assert result.nfe / len(PROMPTS) < MOST_PASSES[method]
    assert result.lossless == (method not in ("gsd", "mulo"))


@pytest.mark.parametrize("method", ["gsd", "lantern", "lantern-plus", "cool"])
def test_a_bias_budget_is_kept(method: str) -> None:
    paint = pipeline("image", model="tiny", method=method, bias_budget=0.005, strict=True)
    result = paint(PROMPTS[:2], seed=2)
    assert not result.lossless
    assert (result.bias or 0.0) <= 0.0075  # a mean over two pictures, kept from round to round


def test_the_judge_finds_most_of_what_was_asked_for(plain) -> None:
    prompts = [prompt for prompt in PROMPTS for _ in range(4)]
    result = plain(prompts, seed=3, batch_size=16)
    assert score_pictures(prompts, None, result.images)["attribute_accuracy"] > 0.6


def test_classes_are_drawn() -> None:
    paint = pipeline("image", model="tiny-c2i", method="scd")
    result = paint(class_id=[0, 14], seed=0)
    assert [image.size for image in result.images] == [(64, 64)] * 2
