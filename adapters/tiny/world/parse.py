"""Read captions back into attributes, and score them against the truth."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from .clips import Clip
from .scene import Scene, Thing
from .vocabulary import (
    BACKGROUNDS,
    CELLS,
    COLOURS,
    COUNTS,
    DIRECTIONS,
    PACES,
    SHAPES,
    SIZES,
    TEXTURES,
)

THING_ATTRIBUTES = ("size", "texture", "colour", "shape", "cell")
CLIP_ATTRIBUTES = ("motion", "pace")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a caption claims; motions and steps are None where it does not speak of them."""

    things: tuple[Thing, ...]
    background: str | None
    count: int | None
    motions: tuple[str | None, ...]
    steps: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """Right answers and questions asked, by attribute."""

    right: Counter[str]
    asked: Counter[str]

    @property
    def accuracy(self) -> float:
        """Share of all attributes that are right."""
        return self.right.total() / self.asked.total()


def _any(words: tuple[str, ...]) -> str:
    return "(?:" + "|".join(words) + ")"


_COUNT = rf"{_any(COUNTS[1:])} shapes?"
_TONE = _any(BACKGROUNDS)
_OPENER = re.compile(
    rf"{_COUNT} on {_TONE} :|on {_TONE} , {_COUNT} :|{_TONE} , {_COUNT} :|"
    rf"the {_TONE} (?:picture|clip) shows {_COUNT} \."
)
_LOOKS = (
    rf"(?:a )?(?P<size>{_any(SIZES)}) (?P<texture>{_any(TEXTURES)}) "
    rf"(?P<colour>{_any(COLOURS)}) (?P<shape>{_any(SHAPES)})"
)
_PLACE = rf"(?P<cell>{_any(CELLS)})"
_PACE = _any(tuple(PACES.values()))
_STEPS = {word: steps for steps, word in PACES.items()}
_ACT = rf"(?:{_PACE} {_any(DIRECTIONS)}|bounces|stays)"
_LOOKS_FIRST = re.compile(
    rf"(?:and )?{_LOOKS}(?: (?:sits|(?P<early>{_ACT})))? {_PLACE}(?: (?P<late>{_ACT}))?\b"
)
_PLACE_FIRST = re.compile(rf"(?:and )?{_PLACE}(?: :)? {_LOOKS}(?: (?P<late>{_ACT}))?\b")


def parse(text: str) -> Reading:
    """Read a caption strictly.

    Args:
        text: A caption; case and spacing around punctuation do not matter.

    Returns:
        Everything it claims.

    Raises:
        ValueError: If any part of it is not in the grammar.
    """
    text = _normalise(text)
    opener = _OPENER.match(text)
    if opener is None:
        raise ValueError(f"no opener such as 'three shapes on cream :' in {text!r}")
    pattern, position, clauses = _pattern(text), opener.end(), []
    while clause := pattern.match(text, _skip(text, position)):
        clauses.append(clause)
        position = clause.end()
    if _skip(text, position) != len(text):
        raise ValueError(f"not in the grammar of captions: {text[position:]!r} in {text!r}")
    return _reading(text, clauses)


def read(text: str) -> Reading:
    """Read whatever a caption says that is in the grammar, and pass over the rest."""
    text = _normalise(text)
    return _reading(text, list(_pattern(text).finditer(text)))


def score(text: str, truth: Scene | Clip) -> Score:
    """Compare a caption with its scene or clip, attribute by attribute.

    A thing left out and a thing made up both count as wrong in each of their attributes.
    """
    reading = read(text)
    scene = truth.scene if isinstance(truth, Clip) else truth
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter({"background": 1, "count": 1})
    right["background"] += reading.background == scene.background
    right["count"] += reading.count == len(scene.things)
    names = THING_ATTRIBUTES + (CLIP_ATTRIBUTES if isinstance(truth, Clip) else ())
    for name in names:
        asked[name] = max(len(scene.things), len(reading.things))
    for index, claim in _pairs(scene.things, reading.things):
        for name in THING_ATTRIBUTES:
            said, true = getattr(reading.things[claim], name), getattr(scene.things[index], name)
            right[name] += said == true
        if isinstance(truth, Clip):
            right["motion"] += reading.motions[claim] == truth.motions[index]
            right["pace"] += reading.steps[claim] == truth.steps[index]
    return Score(right=right, asked=asked)


def attribute_accuracy(text: str, truth: Scene | Clip) -> float:
    """Return the share of a scene's (or clip's) attributes that a caption gets right."""
    return score(text, truth).accuracy


def _normalise(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+|[^\sa-z']", text.lower()))


def _skip(text: str, position: int) -> int:
    """Pass over the separators between clauses."""
    while position < len(text) and text[position] in " ,;.":
        position += 1
    return position


def _pattern(text: str) -> re.Pattern[str]:
    """Styles that name the place first are told apart by how they open."""
    places = re.match(rf"on |{_TONE} ,", text)
    return _PLACE_FIRST if places else _LOOKS_FIRST


def _reading(text: str, clauses: list[re.Match[str]]) -> Reading:
    found = [clause.groupdict() for clause in clauses]
    acts = [_act(groups.get("early") or groups.get("late")) for groups in found]
    head = text[: clauses[0].start()] if clauses else text
    tone, count = re.search(_TONE, head), re.search(rf"({_any(COUNTS[1:])}) shape", head)
    return Reading(
        things=tuple(
            Thing(f["shape"], f["colour"], f["size"], f["texture"], CELLS.index(f["cell"]))
            for f in found
        ),
        background=tone.group() if tone else None,
        count=COUNTS.index(count.group(1)) if count else None,
        motions=tuple(motion for motion, _ in acts),
        steps=tuple(steps for _, steps in acts),
    )


def _act(words: str | None) -> tuple[str | None, int | None]:
    """Motion and cells travelled: "runs left" is ("left", 2)."""
    if words is None:
        return None, None
    first, last = words.split()[0], words.split()[-1]
    return ("still" if first == "stays" else last), _STEPS.get(first, 0)


def _pairs(truth: tuple[Thing, ...], claims: tuple[Thing, ...]) -> list[tuple[int, int]]:
    """Match claims to things: first by cell, then what is left in order."""
    free = dict(enumerate(claims))
    pairs, rest = [], []
    for index, thing in enumerate(truth):
        claim = next((key for key, value in free.items() if value.cell == thing.cell), None)
        if claim is None:
            rest.append(index)
        else:
            pairs.append((index, claim))
            del free[claim]
    return pairs + list(zip(rest, free, strict=False))
