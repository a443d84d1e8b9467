"""What the image models learn to draw: scenes of one to four things, 64 x 64 pixels."""

from __future__ import annotations

import random

import numpy as np
from PIL import Image

from adapters.tiny.world.render import render
from adapters.tiny.world.scene import HELD_OUT, Scene, sample_scene

SIDE = 64
PATCH = 4  # pixels a token covers in each direction
GRID_SIDE = SIDE // PATCH
# Five tokens: every cell lies alike on the grid of tokens, so a thing looks alike in every cell.
CELL = 5 * PATCH
MAX_THINGS = 4
_COUNT_WEIGHTS = (6, 7, 4, 3)
# Scenes of their own: no other model of the embedded set sees them.
_SEEDS = 8 * HELD_OUT


def image_scene(seed: int, *, held_out: bool = False) -> Scene:
    """Scene number `seed` of the training set or of the disjoint held-out set."""
    if not 0 <= seed < HELD_OUT:
        raise ValueError(f"seed must be between 0 and {HELD_OUT - 1}, got {seed}")
    rng = random.Random(_SEEDS + seed + HELD_OUT * held_out)
    count = rng.choices(range(1, MAX_THINGS + 1), weights=_COUNT_WEIGHTS)[0]
    return sample_scene(rng, count)


def picture(scene: Scene) -> Image.Image:
    """The scene as the image models see it: 64 x 64, cells of 20 pixels, a margin of 2."""
    return render(scene, SIDE, CELL)


def picture_array(scene: Scene) -> np.ndarray:
    """The picture as ``(64, 64, 3)`` bytes."""
    return np.asarray(picture(scene))
