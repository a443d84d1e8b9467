"""Captions: what the picture shows, in four styles.

Almost every choice of words is a function of the scene, and the style holds through a caption: a
reader of the picture can predict runs of words, a reader of the words alone cannot.
"""

from __future__ import annotations

from collections import Counter

from .clips import Clip
from .scene import Scene, Thing
from .vocabulary import BACKGROUNDS, CELLS, COUNTS, PLURALS, SIZES, cell_phrase

LISTING, PLACES, SENTENCES, NOTES = range(4)
# The tone of the background picks the style unless the reader asks for one.
_STYLE_OF_TONE = dict(
    zip(BACKGROUNDS, (LISTING, PLACES, SENTENCES, NOTES, LISTING, PLACES), strict=True)
)
_VERBS = {"small": "rests", "medium": "sits", "large": "stands"}
_TOWARDS = {"right": "to the right", "left": "to the left", "up": "up", "down": "down"}


def caption(scene: Scene, style: int | None = None) -> str:
    """Describe a picture in words separated by spaces."""
    style = default_style(scene) if style is None else style
    return _write(scene, None, "picture", style) + " " + _picture_closing(scene)


def clip_caption(clip: Clip, style: int | None = None) -> str:
    """Describe a clip: its first frame and how each thing moves."""
    style = default_style(clip.scene) if style is None else style
    return _write(clip.scene, clip.motions, "clip", style) + " " + _clip_closing(clip)


def default_style(scene: Scene) -> int:
    """Style of a caption when none is asked for."""
    return _STYLE_OF_TONE[scene.background]


def relation(thing: Thing, before: Thing | None) -> str | None:
    """Name the place of a thing by its neighbour where that says it all."""
    if before is not None and thing.row == before.row and thing.column == before.column + 1:
        return "beside it"
    if before is not None and thing.column == before.column and thing.row == before.row + 1:
        return "below it"
    return None


def _write(scene: Scene, motions: tuple[str, ...] | None, medium: str, style: int) -> str:
    count = COUNTS[len(scene.things)] + (" shape" if len(scene.things) == 1 else " shapes")
    clauses = []
    for index, thing in enumerate(scene.things):
        before = scene.things[index - 1] if index else None
        motion = motions[index] if motions else None
        clauses.append(_CLAUSES[style](thing, before, motion))
    if style == SENTENCES:
        opener = f"the {scene.background} {medium} shows {count} ."
        return " ".join([opener, *(clause + " ." for clause in clauses)])
    if style == NOTES:
        return f"{scene.background} , {count} : " + " ; ".join(clauses) + " ."
    if len(clauses) > 1:
        clauses[-1] = "and " + clauses[-1]
    on = f"on {scene.background}"
    opener = f"{count} {on} : " if style == LISTING else f"{on} , {count} : "
    return opener + " , ".join(clauses) + " ."


def _phrase(thing: Thing, before: Thing | None) -> str:
    article = "another" if before is not None and thing.shape == before.shape else "a"
    return f"{article} {_bare(thing)}"


def _bare(thing: Thing) -> str:
    return f"{thing.size} {thing.texture} {thing.colour} {thing.shape}"


def _act(motion: str | None) -> str:
    """Words for a motion, with a leading space; nothing for a picture."""
    if motion is None:
        return ""
    if motion in _TOWARDS:
        return f" moves {_TOWARDS[motion]}"
    return " bounces" if motion == "bounces" else " stays still"


def _listing(thing: Thing, before: Thing | None, motion: str | None) -> str:
    place = relation(thing, before) or f"at {CELLS[thing.cell]}"
    return f"{_phrase(thing, before)} {place}{_act(motion)}"


def _places(thing: Thing, before: Thing | None, motion: str | None) -> str:
    place = relation(thing, before) or f"in {cell_phrase(thing.cell)}"
    return f"{place} {_phrase(thing, before)}{_act(motion)}"


def _sentence(thing: Thing, before: Thing | None, motion: str | None) -> str:
    verb = _act(motion) or f" {_VERBS[thing.size]}"
    preposition = "from" if motion in _TOWARDS else "at"
    place = relation(thing, before) or f"{preposition} {CELLS[thing.cell]}"
    return f"{_phrase(thing, before)}{verb} {place}"


def _note(thing: Thing, before: Thing | None, motion: str | None) -> str:
    place = relation(thing, before) or CELLS[thing.cell]
    return f"{place} : {_bare(thing)}{_act(motion)}"


_CLAUSES = (_listing, _places, _sentence, _note)


def _picture_closing(scene: Scene) -> str:
    things = scene.things
    if len(things) == 1:
        return _surroundings(things[0])
    if len(things) <= 3:
        return _comparison(things[0], things[-1])
    colour, same_colour = Counter(thing.colour for thing in things).most_common(1)[0]
    shape, same_shape = Counter(thing.shape for thing in things).most_common(1)[0]
    first = "no two share a colour"
    if same_colour > 1:
        first = f"{COUNTS[same_colour]} of them are {colour}"
    second = "no two share a shape"
    if same_shape > 1:
        second = f"{COUNTS[same_shape]} are {PLURALS[shape]}"
    return f"{first} and {second} ."


def _surroundings(thing: Thing) -> str:
    rows = ("below it", "above and below it", "above it")[thing.row]
    columns = ("to the right", "to the left and right", "to the left")[thing.column]
    return f"nothing else is there : everything {rows} and {columns} is empty ."


def _comparison(first: Thing, last: Thing) -> str:
    one, other = f"the {first.shape}", f"the {last.shape}"
    if first.shape == last.shape:
        one, other = "the first", "the last"
    order = SIZES.index(first.size) - SIZES.index(last.size)
    degree = "as large as" if order == 0 else "larger than" if order > 0 else "smaller than"
    side = "to the left" if first.column < last.column else "to the right"
    if first.row == last.row:
        place = f"{side} of it"
    else:
        place = "above it" if first.column == last.column else f"above it , {side}"
    return f"{one} is {degree} {other} and lies {place} ."


def _clip_closing(clip: Clip) -> str:
    endings = []
    for index, thing in enumerate(clip.scene.things):
        motion = clip.motions[index]
        if motion == "bounces":
            endings.append(f"the {thing.colour} one keeps bouncing .")
        elif motion != "still":
            cell = cell_phrase(clip.end_cell(index))
            endings.append(f"the {thing.colour} one ends in {cell} .")
    return " ".join(endings)
