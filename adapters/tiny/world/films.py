"""Films: clips long enough for several blocks of video, in which things go on moving.

A thing travels from its cell to the border of the grid and back, or hops on the spot, without end.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

from .clips import BOUNCE_HEIGHT, Clip
from .render import render_clip
from .scene import GRID, HELD_OUT, Scene, Thing
from .vocabulary import BACKGROUNDS, COLOURS, DIRECTIONS, MOTIONS, SHAPES, SIZES

# The first latent frame shows one picture, the other seventeen four: six blocks of three.
FILM_FRAMES = 69
FILM_RATE = 16  # pictures a second
MAX_MOVERS = 3
# How long a thing takes over one cell, and over one hop.
CELL_FRAMES = 30
HOP_FRAMES = 24
_TOWARDS = {"right": (0, 1), "left": (0, -1), "up": (-1, 0), "down": (1, 0)}
# Films take their own seeds: no other model of the embedded set sees them.
_SEEDS = 16 * HELD_OUT
_COUNT_WEIGHTS = (5, 3, 2)
_STILL_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Film(Clip):
    """A scene of plain things, what each does, and how many cells it travels before it turns."""

    def centres(self, time: float) -> list[tuple[float, float]]:
        """Centres (x, y) in unit coordinates; from 0 to 1 the film shows its frames."""
        frame = time * (FILM_FRAMES - 1)
        movers = zip(self.scene.things, self.motions, self.steps, strict=True)
        return [_centre(thing, motion, steps, frame) for thing, motion, steps in movers]


def film_array(film: Film, size: int = 64, cell: int = 20, frames: int = FILM_FRAMES) -> np.ndarray:
    """The first frames of a film, ``(frames, size, size, 3)`` bytes."""
    pictures = render_clip(film, FILM_FRAMES, size, cell)[:frames]
    return np.stack([np.asarray(picture) for picture in pictures])


def sample_film(rng: random.Random, count: int | None = None) -> Film:
    """Draw a film of one to three things that never meet, of which at least one moves.

    Raises:
        ValueError: Another number of things.
    """
    if count is None:
        count = rng.choices(range(1, MAX_MOVERS + 1), weights=_COUNT_WEIGHTS)[0]
    if not 1 <= count <= MAX_MOVERS:
        raise ValueError(f"a film has 1 to {MAX_MOVERS} things, not {count}")
    while True:
        cells = sorted(rng.sample(range(GRID * GRID), count))
        motions = [
            "still" if rng.random() < _STILL_SHARE else rng.choice(MOTIONS[1:]) for _ in cells
        ]
        if free_paths(cells, motions) and set(motions) != {"still"}:
            things = tuple(_plain_thing(rng, cell) for cell in cells)
            scene = Scene(things, rng.choice(BACKGROUNDS))
            return make_film(scene, motions)


def make_film(scene: Scene, motions: list[str]) -> Film:
    """The film of a scene in which each thing does what is said of it."""
    steps = [
        travel(thing.cell, motion) for thing, motion in zip(scene.things, motions, strict=True)
    ]
    return Film(scene, tuple(motions), tuple(steps))


def film_from_seed(seed: int, *, held_out: bool = False, count: int | None = None) -> Film:
    """Film number `seed` of the training set or of the disjoint held-out set."""
    if not 0 <= seed < HELD_OUT:
        raise ValueError(f"seed must be between 0 and {HELD_OUT - 1}, got {seed}")
    return sample_film(random.Random(_SEEDS + seed + HELD_OUT * held_out), count)


def travel(cell: int, motion: str) -> int:
    """Cells between a cell and the border that a motion leads to; 0 for things that do not go."""
    row, column = divmod(cell, GRID)
    ways = {"right": GRID - 1 - column, "left": column, "up": row, "down": GRID - 1 - row}
    return ways.get(motion, 0)


def first_leg(motion: str, steps: int) -> int:
    """Frame in which a thing has gone farthest in the direction it started in."""
    return HOP_FRAMES // 2 if motion == "bounces" else steps * CELL_FRAMES


def free_paths(cells: list[int], motions: list[str]) -> bool:
    """Whether each thing can move and no two ever come into the same cell."""
    taken: set[int] = set()
    for cell, motion in zip(cells, motions, strict=True):
        swept = _swept(cell, motion)
        if swept is None or taken & swept:
            return False
        taken |= swept
    return True


def _swept(cell: int, motion: str) -> set[int] | None:
    """Cells that a thing comes into; None where it cannot do this."""
    if motion == "bounces":
        return {cell, cell - GRID} if cell >= GRID else None
    if motion not in DIRECTIONS:
        return {cell}
    down, across = _TOWARDS[motion]
    steps = travel(cell, motion)
    return {cell + step * (GRID * down + across) for step in range(steps + 1)} if steps else None


def _centre(thing: Thing, motion: str, steps: int, frame: float) -> tuple[float, float]:
    x, y = (thing.column + 0.5) / GRID, (thing.row + 0.5) / GRID
    if motion == "bounces":
        return x, y - BOUNCE_HEIGHT * abs(math.sin(math.pi * frame / HOP_FRAMES))
    if not steps:
        return x, y
    gone = frame / CELL_FRAMES % (2 * steps)
    gone = min(gone, 2 * steps - gone) / GRID
    down, across = _TOWARDS[motion]
    return x + across * gone, y + down * gone


def _plain_thing(rng: random.Random, cell: int) -> Thing:
    return Thing(
        shape=rng.choice(SHAPES),
        colour=rng.choice(COLOURS),
        size=rng.choice(SIZES),
        texture="plain",
        cell=cell,
    )
