"""Captions: what the picture shows, in four styles.

Nearly every word is something to be seen: a reader of the picture can predict all of it, a reader
of the words alone little. The style and the number of things hold through a caption.
"""

from __future__ import annotations

from .clips import Clip
from .scene import Scene, Thing
from .vocabulary import BACKGROUNDS, CELLS, COUNTS, PACES

LISTING, PLACES, SENTENCES, NOTES = range(4)
# The tone of the background picks the style unless the reader asks for one.
_STYLE_OF_TONE = dict(
    zip(BACKGROUNDS, (LISTING, PLACES, SENTENCES, NOTES, LISTING, LISTING), strict=True)
)


def caption(scene: Scene, style: int | None = None) -> str:
    """Describe a picture in words separated by spaces."""
    style = default_style(scene) if style is None else style
    return _write(scene, "picture", style, [""] * len(scene.things))


def clip_caption(clip: Clip, style: int | None = None) -> str:
    """Describe a clip: its first frame and how each thing moves."""
    style = default_style(clip.scene) if style is None else style
    acts = [_act(motion, steps) for motion, steps in zip(clip.motions, clip.steps, strict=True)]
    return _write(clip.scene, "clip", style, acts)


def default_style(scene: Scene) -> int:
    """Style of a caption when none is asked for."""
    return _STYLE_OF_TONE[scene.background]


def _write(scene: Scene, medium: str, style: int, acts: list[str]) -> str:
    tone, number = scene.background, COUNTS[len(scene.things)]
    shapes = f"{number} shape" if len(scene.things) == 1 else f"{number} shapes"
    clauses = [_CLAUSES[style](thing, act) for thing, act in zip(scene.things, acts, strict=True)]
    if style == SENTENCES:
        return " ".join([f"the {tone} {medium} shows {shapes} .", *(f"{c} ." for c in clauses)])
    if style == NOTES:
        return f"{tone} , {shapes} : " + " ; ".join(clauses) + " ."
    if len(clauses) > 1:
        clauses[-1] = "and " + clauses[-1]
    opener = f"{shapes} on {tone} : " if style == LISTING else f"on {tone} , {shapes} : "
    return opener + " , ".join(clauses) + " ."


def _looks(thing: Thing) -> str:
    return f"{thing.size} {thing.texture} {thing.colour} {thing.shape}"


def _act(motion: str, steps: int) -> str:
    """Words for a motion, with a leading space: "drifts" over one cell, "runs" over two."""
    if motion == "still":
        return " stays"
    return f" {PACES[steps]} {motion}" if steps else f" {motion}"


def _listing(thing: Thing, act: str) -> str:
    return f"{_looks(thing)} {CELLS[thing.cell]}{act}"


def _places(thing: Thing, act: str) -> str:
    return f"{CELLS[thing.cell]} a {_looks(thing)}{act}"


def _sentence(thing: Thing, act: str) -> str:
    return f"a {_looks(thing)}{act or ' sits'} {CELLS[thing.cell]}"


def _note(thing: Thing, act: str) -> str:
    return f"{CELLS[thing.cell]} : {_looks(thing)}{act}"


_CLAUSES = (_listing, _places, _sentence, _note)
