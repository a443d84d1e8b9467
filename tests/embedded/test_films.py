"""The embedded video models: films show what was asked for, and drafts keep most of it."""

from __future__ import annotations

import pytest

import mmspec
from mmspec import catalog

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = [
    "a red circle at the top moves to the right",
    "a large blue square in the centre stays still on mint",
    "a green triangle at the bottom moves up",
    "a purple cross on the left moves down",
]
# Of four films; the card says what it reaches on more.
LEAST, LEAST_DRAFTED = 0.7, 0.6


def test_films_show_their_prompts() -> None:
    result = mmspec.pipeline("video", method="none")(PROMPTS, seed=0, score=True)
    assert result.quality["attribute_accuracy"] > LEAST
    assert result.quality["smooth"] > LEAST
    assert [len(film) for film in result.frames] == [69] * len(PROMPTS)
    assert result.frames[0][0].size == (64, 64)


def test_drafts_behind_the_targets_first_block_keep_most_of_it() -> None:
    pipe = mmspec.pipeline("video", method="first-block", strict=True)
    result = pipe(PROMPTS, seed=0, compare=True, score=True)
    assert not result.lossless
    assert result.target_blocks == pytest.approx(1 / 6)
    assert result.quality["attribute_accuracy"] > LEAST_DRAFTED


def test_the_judge_routes_and_a_threshold_of_infinity_is_the_target() -> None:
    pipe = mmspec.pipeline(
        "video", method="sdvg", reward="judge", threshold=float("inf"), strict=True
    )
    result = pipe(PROMPTS[:1], seed=3, compare=True)
    assert result.target_blocks == 1
    assert result.outputs[0].latent_distance == 0
    scores = [block["score"] for block in result.timeline[0][1:]]
    assert all(0 <= score <= 1 for score in scores)


def test_the_folders_are_there_and_small() -> None:
    folder = catalog.embedded_folder("tiny-video", "model", "video")
    sizes = [path.stat().st_size for path in folder.parent.rglob("*.safetensors")]
    assert len(sizes) == 4
    assert sum(sizes) < 9_000_000
