"""Clips: scenes in which one to three things move."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from .scene import GRID, HELD_OUT, Scene, Thing, sample_scene
from .vocabulary import MOTIONS

MAX_CLIP_THINGS = 5
BOUNCE_HEIGHT = 0.26
_HALF_BOUNCES = 3
_DIRECTIONS = {"right": (0, 1), "left": (0, -1), "up": (-1, 0), "down": (1, 0)}
# Clips take their own seeds, so a clip never repeats the scene of the same number.
_CLIP_SEEDS = 4 * HELD_OUT
_COUNT_WEIGHTS = (1, 1, 1, 2, 10)


@dataclass(frozen=True, slots=True)
class Clip:
    """A scene (the first frame) with a motion and a number of cells travelled for each thing."""

    scene: Scene
    motions: tuple[str, ...]
    steps: tuple[int, ...]

    def end_cell(self, index: int) -> int:
        """Cell in which thing `index` ends; a bouncing thing belongs to the cell it left."""
        thing = self.scene.things[index]
        down, across = _DIRECTIONS.get(self.motions[index], (0, 0))
        return thing.cell + self.steps[index] * (GRID * down + across)

    def centres(self, time: float) -> list[tuple[float, float]]:
        """Centres (x, y) of the things in unit coordinates, `time` running from 0 to 1."""
        movers = zip(self.scene.things, self.motions, self.steps, strict=True)
        return [_centre(thing, motion, steps, time) for thing, motion, steps in movers]


def _centre(thing: Thing, motion: str, steps: int, time: float) -> tuple[float, float]:
    x, y = (thing.column + 0.5) / GRID, (thing.row + 0.5) / GRID
    if motion == "bounces":
        return x, y - BOUNCE_HEIGHT * abs(math.sin(_HALF_BOUNCES * math.pi * time / 2))
    down, across = _DIRECTIONS.get(motion, (0, 0))
    return x + across * steps * time / GRID, y + down * steps * time / GRID


def _path(thing: Thing, motion: str, steps: int) -> list[int] | None:
    """Cells a motion sweeps beyond the start, or None where it leaves the picture."""
    down, across = (-1, 0) if motion == "bounces" else _DIRECTIONS[motion]
    cells = []
    for step in range(1, steps + 1):
        row, column = thing.row + down * step, thing.column + across * step
        if not (0 <= row < GRID and 0 <= column < GRID):
            return None
        cells.append(GRID * row + column)
    return cells


def sample_clip(rng: random.Random, count: int | None = None) -> Clip:
    """Draw a clip in which nothing overlaps and at least one thing moves."""
    if count is None:
        count = rng.choices(range(1, MAX_CLIP_THINGS + 1), weights=_COUNT_WEIGHTS)[0]
    while True:
        scene = sample_scene(rng, count)
        taken = {thing.cell for thing in scene.things}
        motions, steps = ["still"] * count, [0] * count
        wanted = min(count, rng.choice((1, 2, 3)))
        for index in rng.sample(range(count), wanted):
            motion = rng.choice(MOTIONS[1:])
            length = 1 if motion == "bounces" else rng.choice((1, 2))
            path = _path(scene.things[index], motion, length)
            if path is None or taken.intersection(path):
                break
            taken.update(path)
            motions[index], steps[index] = motion, 0 if motion == "bounces" else length
        else:
            return Clip(scene=scene, motions=tuple(motions), steps=tuple(steps))


def clip_from_seed(seed: int, *, held_out: bool = False) -> Clip:
    """Return clip number `seed` of the training set or of the disjoint held-out set."""
    if not 0 <= seed < HELD_OUT:
        raise ValueError(f"seed must be between 0 and {HELD_OUT - 1}, got {seed}")
    return sample_clip(random.Random(_CLIP_SEEDS + seed + HELD_OUT * held_out))


def long_caption_clips(count: int) -> list[Clip]:
    """Held-out clips of five things, whose captions have 44 words or more."""
    return [
        sample_clip(random.Random(_CLIP_SEEDS + HELD_OUT + seed), MAX_CLIP_THINGS)
        for seed in range(count)
    ]
