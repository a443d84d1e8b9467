"""What the continuous models learn to draw: scenes of one or a few things, 64 x 64 pixels."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from adapters.tiny.images.pictures import picture_array
from adapters.tiny.world.scene import HELD_OUT, Scene, sample_scene

MAX_THINGS = 2
# Of pictures of classes: with a second thing, which of the two is the class's shows only when both
# are drawn.
THINGS = 1
# Scenes of their own: no other model of the embedded set sees them. Held-out ones follow from
# 13 * HELD_OUT on.
_SEEDS = 12 * HELD_OUT


def latent_scene(seed: int, *, held_out: bool = False, count: int | None = None) -> Scene:
    """Scene number `seed` of the training set or of the disjoint held-out set.

    Args:
        seed: Number of the scene.
        held_out: Which set.
        count: Number of things; one or two at random when not given.
    """
    if not 0 <= seed < HELD_OUT:
        raise ValueError(f"seed must be between 0 and {HELD_OUT - 1}, got {seed}")
    rng = random.Random(_SEEDS + seed + HELD_OUT * held_out)
    return sample_scene(rng, count or rng.randint(1, MAX_THINGS))


def scene_pixels(scenes: Sequence[Scene]) -> Tensor:
    """Pictures of scenes, ``(rows, 3, 64, 64)`` in [-1, 1]."""
    arrays = np.stack([picture_array(scene) for scene in scenes])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
