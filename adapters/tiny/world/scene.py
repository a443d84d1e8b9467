"""Scenes: one to six things on a 3x3 grid over a pale background."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .vocabulary import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES

GRID = 3
MAX_THINGS = 6
# Seeds from here on are held out: training never draws them.
HELD_OUT = 1_000_000_000
# Few pictures hold fewer than five things: their captions have less than forty words.
_COUNT_WEIGHTS = (1, 1, 1, 2, 9, 9)


@dataclass(frozen=True, slots=True)
class Thing:
    """One drawn shape and the grid cell (row-major, 0 to 8) it sits in."""

    shape: str
    colour: str
    size: str
    texture: str
    cell: int

    @property
    def row(self) -> int:
        """Grid row, 0 at the top."""
        return self.cell // GRID

    @property
    def column(self) -> int:
        """Grid column, 0 at the left."""
        return self.cell % GRID


@dataclass(frozen=True, slots=True)
class Scene:
    """Things in raster order over a background tone."""

    things: tuple[Thing, ...]
    background: str


def sample_thing(rng: random.Random, cell: int) -> Thing:
    """Draw every attribute of a thing uniformly."""
    return Thing(
        shape=rng.choice(SHAPES),
        colour=rng.choice(COLOURS),
        size=rng.choice(SIZES),
        texture=rng.choice(TEXTURES),
        cell=cell,
    )


def sample_scene(rng: random.Random, count: int | None = None) -> Scene:
    """Draw a scene.

    Args:
        rng: Source of every choice.
        count: Number of things; drawn when not given.

    Returns:
        A scene whose things are in raster order, at most one to a cell.
    """
    if count is None:
        count = rng.choices(range(1, MAX_THINGS + 1), weights=_COUNT_WEIGHTS)[0]
    if not 1 <= count <= GRID * GRID:
        raise ValueError(f"count must be between 1 and {GRID * GRID}, got {count}")
    cells = sorted(rng.sample(range(GRID * GRID), count))
    things = tuple(sample_thing(rng, cell) for cell in cells)
    return Scene(things=things, background=rng.choice(BACKGROUNDS))


def scene_from_seed(seed: int, *, held_out: bool = False) -> Scene:
    """Return scene number `seed` of the training set or of the disjoint held-out set."""
    if not 0 <= seed < HELD_OUT:
        raise ValueError(f"seed must be between 0 and {HELD_OUT - 1}, got {seed}")
    return sample_scene(random.Random(seed + HELD_OUT * held_out))


def long_caption_scenes(count: int) -> list[Scene]:
    """Held-out scenes of five and six things in turn, whose captions have 44 words or more."""
    return [sample_scene(random.Random(HELD_OUT + seed), 5 + seed % 2) for seed in range(count)]
