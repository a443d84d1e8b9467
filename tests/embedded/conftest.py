"""The embedded captioner and what it is asked, loaded once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

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
def puzzles(pictures):
    """Pictures and noise: what the captioner cannot read makes it hesitate, which tests need."""
    random = np.random.default_rng(0)
    noise = [Image.fromarray(random.integers(0, 256, (96, 96, 3), np.uint8)) for _ in range(4)]
    return [*pictures[:4], *noise]


@pytest.fixture(scope="session")
def frames():
    return render_clip(clip_from_seed(4, held_out=True), 8)


@pytest.fixture(scope="session")
def prompt():
    return default_prompt("tiny")


@pytest.fixture(scope="module")
def one_thread():
    """Small models are quickest, and the same everywhere, on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
