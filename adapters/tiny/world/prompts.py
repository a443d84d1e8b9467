"""Write prompts: phrases of the grammar that are true of a scene, in many wordings."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .prompt_words import (
    MAX_PROMPT_WORDS,
    MAX_WISHED,
    NUMBERS,
    PLACES,
    PLURALS,
    RELATIONS,
    SHARED_PLACES,
    normalise,
)
from .scene import GRID, Scene, Thing, sample_thing
from .vocabulary import BACKGROUNDS
from .wishes import holds

# Shares of things of which each attribute is said. Plain bodies are seldom called plain.
_SAY_COLOUR, _SAY_SIZE, _SAY_TEXTURE, _SAY_PLAIN = 0.90, 0.50, 0.70, 0.35
# Prompts that say shapes only ("three stars"), and those without articles ("red circle").
_TERSE, _NO_ARTICLES = 0.04, 0.04
_SAY_BACKGROUND = 0.4
# Prompts without relations in raster order; with relations the order is free, since "below" is
# hardly ever true in raster order. Together about 70 % are in raster order.
_RASTER_ORDER = 0.93
# Prompts of several things: places, relations, or neither.
_LAYOUTS, _LAYOUT_WEIGHTS = ("places", "relations", "free"), (53, 30, 17)
_PLACE_SHARES = {"places": 0.85, "relations": 0.08, "free": 0.0}
_PLACE_ALONE = 0.6
# Prompts that count things of one shape and colour together, and of one shape only.
_JOIN_ALIKE, _JOIN_SHAPES = 0.8, 0.08
# Scenes with things alike, chance of each thing in them, and scenes in which all are alike.
_TWIN_SCENES, _TWIN, _ALL_TWINS = 0.35, 0.6, 0.3

_Group = tuple[Thing, ...]
_Said = tuple[bool, bool, bool]


def prompt_scene(rng: random.Random, count: int | None = None) -> Scene:
    """Draw a scene for a prompt: one to four things, some of them alike in part of the scenes.

    Independent things seldom share shape and colour; a model that is to know "two red squares"
    has to see them.
    """
    count = rng.randint(1, MAX_WISHED) if count is None else count
    if not 1 <= count <= MAX_WISHED:
        raise ValueError(f"count must be between 1 and {MAX_WISHED}, got {count}")
    twin = 0.0 if rng.random() >= _TWIN_SCENES else 1.0 if rng.random() < _ALL_TWINS else _TWIN
    things: list[Thing] = []
    for cell in rng.sample(range(GRID * GRID), count):
        thing = sample_thing(rng, cell)
        if things and rng.random() < twin:
            thing = _twin(rng.choice(things), thing, rng)
        things.append(thing)
    raster = tuple(sorted(things, key=lambda thing: thing.cell))
    return Scene(things=raster, background=rng.choice(BACKGROUNDS))


def write_prompt(scene: Scene, rng: random.Random) -> str:
    """Write a prompt that is true of a scene and mentions each of its things.

    Args:
        scene: One to four things.
        rng: Source of every choice of words.

    Returns:
        A prompt of at most `MAX_PROMPT_WORDS` words and commas.

    Raises:
        ValueError: If the scene has no thing or more than four.
    """
    if not 1 <= len(scene.things) <= MAX_WISHED:
        raise ValueError(
            f"a prompt speaks of 1 to {MAX_WISHED} things, the scene has {len(scene.things)}"
        )
    while True:
        text = _draft(scene, rng)
        if len(normalise(text)) <= MAX_PROMPT_WORDS:
            return text


def _draft(scene: Scene, rng: random.Random) -> str:
    """Write a prompt of any length."""
    things = list(scene.things)
    layout = rng.choices(_LAYOUTS, _LAYOUT_WEIGHTS)[0]
    if layout == "relations" or rng.random() >= _RASTER_ORDER:
        rng.shuffle(things)
    groups = _groups(things, rng)
    place_share = _PLACE_SHARES[layout] if len(things) > 1 else _PLACE_ALONE
    terse, bare = rng.random() < _TERSE, rng.random() < _NO_ARTICLES
    shared = _said(rng) if rng.random() < 0.5 else None
    phrases, places = [], []
    for group in groups:
        said = (False, False, False) if terse else shared or _said(rng)
        phrase = _phrase(group, said, bare, rng)
        places.append(_place(group, rng) if rng.random() < place_share else "")
        phrases.append(phrase + places[-1])
    joints = _joints(groups, layout == "relations", rng)
    # "in the middle left of" would name another place.
    joints = [
        f" to the{joint}" if place and joint in (" left of ", " right of ") else joint
        for place, joint in zip(places, joints, strict=False)
    ]
    text = "".join(part for pair in zip(phrases, [*joints, ""], strict=True) for part in pair)
    return text + _background(scene, rng)


def _twin(model: Thing, thing: Thing, rng: random.Random) -> Thing:
    """Give a thing the shape and colour of another, and often its size and texture."""
    return Thing(
        shape=model.shape,
        colour=model.colour,
        size=model.size if rng.random() < 0.6 else thing.size,
        texture=model.texture if rng.random() < 0.6 else thing.texture,
        cell=thing.cell,
    )


def _groups(things: Sequence[Thing], rng: random.Random) -> list[_Group]:
    """Put things of one shape together that are to be counted ("two red squares")."""
    draw = rng.random()
    groups: dict[object, list[Thing]] = {}
    for index, thing in enumerate(things):
        key: object = index
        if draw < _JOIN_SHAPES:
            key = thing.shape
        elif draw < _JOIN_ALIKE:
            key = thing.shape, thing.colour
        groups.setdefault(key, []).append(thing)
    return [tuple(group) for group in groups.values()]


def _said(rng: random.Random) -> _Said:
    """Draw whether size, texture and colour are said."""
    return rng.random() < _SAY_SIZE, rng.random() < _SAY_TEXTURE, rng.random() < _SAY_COLOUR


def _phrase(group: _Group, said: _Said, bare: bool, rng: random.Random) -> str:
    """Write count, looks and shape; what the things of a group differ in is left out."""
    size, texture, colour = (
        {getattr(thing, name) for thing in group} if say else set()
        for name, say in zip(("size", "texture", "colour"), said, strict=True)
    )
    if texture == {"plain"} and rng.random() >= _SAY_PLAIN / _SAY_TEXTURE:
        texture = set()
    order = (size, texture, colour) if rng.random() < 0.85 else (size, colour, texture)
    looks = [word for words in order if len(words) == 1 for word in words]
    shape = group[0].shape if len(group) == 1 else PLURALS[group[0].shape]
    words = [*looks, shape]
    if len(group) > 1:
        return " ".join([NUMBERS[len(group) - 1], *words])
    if bare:
        return " ".join(words)
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join(["one" if rng.random() < 0.04 else article, *words])


def _place(group: _Group, rng: random.Random) -> str:
    """Name the place of a group, with a leading space; nothing where no name fits."""
    names: Sequence[str] = PLACES[group[0].cell]
    if len(group) > 1:
        cells = {thing.cell for thing in group}
        names = [name for name, allowed in SHARED_PLACES.items() if cells <= allowed]
    return " " + _pick(names, rng) if names else ""


def _joints(groups: Sequence[_Group], relate: bool, rng: random.Random) -> list[str]:
    """Write what stands between neighbouring groups: a relation, a comma or "and"."""
    last = len(groups) - 2
    joints = [", " if index < last else " and " for index in range(last + 1)]
    if rng.random() < 0.15:
        joints = [" and "] * len(joints)
    if not relate:
        return joints
    known = {index: sides for index in range(last + 1) if (sides := _sides(groups, index))}
    must = rng.choice(list(known)) if known else None
    for index, sides in known.items():
        if index == must or rng.random() < 0.4:
            joints[index] = f" {_pick(RELATIONS[rng.choice(sides)], rng)} "
    return joints


def _sides(groups: Sequence[_Group], index: int) -> list[str]:
    """Relations that hold between each thing of a group and each of the next."""
    pairs = [(one.cell, other.cell) for one in groups[index] for other in groups[index + 1]]
    return [side for side in RELATIONS if all(holds(side, *pair) for pair in pairs)]


def _background(scene: Scene, rng: random.Random) -> str:
    if rng.random() >= _SAY_BACKGROUND:
        return ""
    return rng.choice((f" on a {scene.background} background", f" on {scene.background}"))


def _pick(names: Sequence[str], rng: random.Random) -> str:
    """Draw a name, the first as often as all others together."""
    return names[0] if len(names) == 1 or rng.random() < 0.5 else rng.choice(names[1:])
