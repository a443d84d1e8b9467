"""Wishes: what a prompt asks of a picture, and scenes that fulfil it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from .prompt_words import MAX_WISHED
from .scene import GRID, Scene, Thing
from .vocabulary import BACKGROUNDS, CELLS, COLOURS, SHAPES, SIZES, TEXTURES

ALL_CELLS = frozenset(range(GRID * GRID))
# Whether a relation holds between two cells: (row, column) of the first, then of the second.
_HOLDS: dict[str, Callable[[int, int], bool]] = {
    "above": lambda first, second: first // GRID < second // GRID,
    "below": lambda first, second: first // GRID > second // GRID,
    "left": lambda first, second: first % GRID < second % GRID,
    "right": lambda first, second: first % GRID > second % GRID,
}
Relation = tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class WishedThing:
    """One thing asked for; None and all nine cells where the prompt leaves it open."""

    shape: str
    colour: str | None = None
    size: str | None = None
    texture: str | None = None
    cells: frozenset[int] = ALL_CELLS

    def __post_init__(self) -> None:
        _check_name("shape", self.shape, SHAPES)
        for kind, names in (("colour", COLOURS), ("size", SIZES), ("texture", TEXTURES)):
            if (name := getattr(self, kind)) is not None:
                _check_name(kind, name, names)
        if not self.cells or not self.cells <= ALL_CELLS:
            raise ValueError(f"cells must be some of 0 to 8, got {sorted(self.cells)}")

    def allows(self, thing: Thing) -> bool:
        """Whether a thing is what this asks for, place included."""
        looks = (
            (self.colour, thing.colour),
            (self.size, thing.size),
            (self.texture, thing.texture),
        )
        return (
            self.shape == thing.shape
            and thing.cell in self.cells
            and all(wished in (None, seen) for wished, seen in looks)
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """One to four things, relations (i, side, j) between them and perhaps a background.

    "above" means a strictly smaller row, "left" a strictly smaller column.

    Raises:
        ValueError: If a name or an index is unknown, or no arrangement fulfils the wish.
    """

    things: tuple[WishedThing, ...]
    relations: tuple[Relation, ...] = ()
    background: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.things) <= MAX_WISHED:
            raise ValueError(f"a picture has 1 to {MAX_WISHED} things, got {len(self.things)}")
        if self.background is not None:
            _check_name("background", self.background, BACKGROUNDS)
        for first, side, second in self.relations:
            _check_name("relation", side, tuple(_HOLDS))
            if first == second or not {first, second} <= set(range(len(self.things))):
                raise ValueError(
                    f"a relation joins two of the things 0 to {len(self.things) - 1}, "
                    f"got {first} and {second}"
                )
        if next(placements(self), None) is None:
            raise ValueError(_contradiction(self))


def holds(side: str, first: int, second: int) -> bool:
    """Whether a thing in cell `first` is `side` ("above", ...) of a thing in cell `second`."""
    return _HOLDS[side](first, second)


def placements(wish: Wish) -> Iterator[tuple[int, ...]]:
    """Yield each choice of distinct cells for the things that fulfils places and relations."""
    yield from _extend(wish, ())


def fulfils(wish: Wish, scene: Scene) -> bool:
    """Whether a scene shows exactly what a wish asks for."""
    return _readings(wish, scene) > 0


def consistent_scene(wish: Wish, rng: random.Random) -> Scene:
    """Draw a scene uniformly from all scenes that fulfil a wish.

    Cells and open attributes are drawn for each wished thing; a scene in which k assignments of
    things to wishes hold comes up k times as often as it should, so it is kept with chance 1 / k.
    """
    choices = list(placements(wish))
    while True:
        cells = rng.choice(choices)
        things = [_draw(thing, cell, rng) for thing, cell in zip(wish.things, cells, strict=True)]
        background = wish.background or rng.choice(BACKGROUNDS)
        scene = Scene(tuple(sorted(things, key=lambda thing: thing.cell)), background)
        if rng.random() * _readings(wish, scene) < 1:
            return scene


def _extend(wish: Wish, cells: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    index = len(cells)
    if index == len(wish.things):
        yield cells
        return
    for cell in sorted(wish.things[index].cells.difference(cells)):
        grown = (*cells, cell)
        if _related(wish, grown, index):
            yield from _extend(wish, grown)


def _related(wish: Wish, cells: Sequence[int], last: int) -> bool:
    """Whether the relations that thing `last` completes hold."""
    return all(
        holds(side, cells[first], cells[second])
        for first, side, second in wish.relations
        if max(first, second) == last
    )


def _readings(wish: Wish, scene: Scene) -> int:
    """Assignments of a scene's things to the wished ones in which everything holds."""
    if len(scene.things) != len(wish.things) or wish.background not in (None, scene.background):
        return 0
    return sum(
        all(wished.allows(thing) for wished, thing in zip(wish.things, order, strict=True))
        and all(holds(side, order[i].cell, order[j].cell) for i, side, j in wish.relations)
        for order in permutations(scene.things)
    )


def _draw(wished: WishedThing, cell: int, rng: random.Random) -> Thing:
    return Thing(
        shape=wished.shape,
        colour=wished.colour or rng.choice(COLOURS),
        size=wished.size or rng.choice(SIZES),
        texture=wished.texture or rng.choice(TEXTURES),
        cell=cell,
    )


def _check_name(kind: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(known)}")


def _contradiction(wish: Wish) -> str:
    """Say why no arrangement fulfils a wish."""
    for first, second in combinations(wish.things, 2):
        if first.cells == second.cells and len(first.cells) == 1:
            (cell,) = first.cells
            return (
                f"a {first.shape} and a {second.shape} are both asked for at {CELLS[cell]!r}; "
                "a place holds one thing"
            )
    if _is_cyclic(wish, "above", "below") or _is_cyclic(wish, "left", "right"):
        return "the relations run in a circle: a thing would have to be on one side of itself"
    return (
        f"no arrangement on the {GRID} x {GRID} places fulfils the places and relations together; "
        "leave one of them out"
    )


def _is_cyclic(wish: Wish, before: str, after: str) -> bool:
    """Whether the relations of one axis lead from a thing back to itself."""
    edges = {(i, j) for i, side, j in wish.relations if side == before}
    edges |= {(j, i) for i, side, j in wish.relations if side == after}
    left = set(range(len(wish.things)))
    while sources := left - {j for i, j in edges if i in left}:
        left -= sources
    return bool(left)
