"""The embedded captioner and what it is asked, loaded once."""

from __future__ import annotations

import pytest

from adapters.tiny.world.clips import clip_from_seed
from adapters.tiny.world.render import render, render_clip
from adapters.tiny.world.scene import long_caption_scenes
from mmspec.pipelines import default_prompt, pipeline


@pytest.fixture(scope="session")
def target():
    return pipeline("caption", model="tiny", method="none", dtype="float32").target


@pytest.fixture(scope="session")
def pictures():
    return [render(scene) for scene in long_caption_scenes(8)]


@pytest.fixture(scope="session")
def frames():
    return render_clip(clip_from_seed(4, held_out=True), 8)


@pytest.fixture(scope="session")
def prompt():
    return default_prompt("tiny")
