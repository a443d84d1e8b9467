"""Words and set phrases of prompts, and the token split that their writer and reader share."""

from __future__ import annotations

import re
from itertools import pairwise

from .scene import GRID
from .vocabulary import BACKGROUNDS, COLOURS, COUNTS, SHAPES, SIZES, TEXTURES

MAX_PROMPT_WORDS = 40
MAX_WISHED = 4

PLURALS = {shape: "crosses" if shape == "cross" else f"{shape}s" for shape in SHAPES}
NUMBERS = COUNTS[1 : MAX_WISHED + 1]
# Every way to say that one thing lies on a side of another; the first is said most often.
RELATIONS: dict[str, tuple[str, ...]] = {
    "above": ("above",),
    "below": ("below",),
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
}


def _corner(upper: str, top: str, side: str) -> tuple[str, ...]:
    ends = [f"{word} {side}" for word in (upper, top)]
    return (
        *(f"in the {end} corner" for end in ends),
        *(f"{word} the {end}" for end in ends for word in ("in", "at")),
    )


def _side(side: str) -> tuple[str, ...]:
    return f"on the {side}", f"on the {side} side", f"at the {side}", f"in the middle {side}"


# Every name of each cell in raster order; the first is said most often.
PLACES: tuple[tuple[str, ...], ...] = (
    _corner("upper", "top", "left"),
    ("at the top", "in the upper middle", "in the top middle"),
    _corner("upper", "top", "right"),
    _side("left"),
    ("in the centre", "in the middle", "at the centre"),
    _side("right"),
    _corner("lower", "bottom", "left"),
    ("at the bottom", "in the lower middle", "in the bottom middle"),
    _corner("lower", "bottom", "right"),
)
_ROWS = [frozenset(range(GRID * row, GRID * (row + 1))) for row in range(GRID)]
_COLUMNS = [frozenset(range(column, GRID * GRID, GRID)) for column in range(GRID)]
# What a name means for several things at once: no two fit in a cell, so a side is a row or column.
SHARED_PLACES: dict[str, frozenset[int]] = {
    "at the top": _ROWS[0],
    "at the bottom": _ROWS[-1],
    **dict.fromkeys(_side("left")[:3], _COLUMNS[0]),
    **dict.fromkeys(_side("right")[:3], _COLUMNS[-1]),
}
CELLS_OF_PLACE = {name: frozenset({cell}) for cell, names in enumerate(PLACES) for name in names}

_PHRASES = (phrase for group in (*RELATIONS.values(), *PLACES) for phrase in group)
# Words a prompt may use besides the names of attributes.
IMAGE_WORDS: tuple[str, ...] = tuple(
    dict.fromkeys([",", "and", "a", *NUMBERS, "on", "background", *" ".join(_PHRASES).split()])
)
PROMPT_WORDS: tuple[str, ...] = (
    *IMAGE_WORDS,
    *SHAPES,
    *PLURALS.values(),
    *COLOURS,
    *SIZES,
    *TEXTURES,
    *BACKGROUNDS,
)

SYNONYMS = {
    "an": "a",
    "gray": "grey",
    "big": "large",
    "center": "centre",
    **{str(number): word for number, word in enumerate(NUMBERS, start=1)},
}
_DROPPED = re.compile(r"[\"'`()\[\]{}“”‘’_\-]")
_STOPS = re.compile(r"[.;:!?]")
# A comma in front of these says nothing.
_NO_COMMA_BEFORE = frozenset(
    {"", ",", "and", "above", "below", "to", "left", "right", "on", "in", "at"}
)


def normalise(text: str) -> list[str]:
    """Split a prompt into tokens, each a word or a comma.

    Case, quotes, hyphens and the kind of stop do not matter; synonyms become the word that
    `PROMPT_WORDS` has ("an" becomes "a"); commas stay only between two phrases. Words that no
    prompt can use are kept as they are.
    """
    text = _STOPS.sub(",", _DROPPED.sub(" ", text.lower()))
    words = [SYNONYMS.get(word, word) for word in re.findall(r"\w+|[^\w\s]", text)]
    kept: list[str] = []
    for word, following in pairwise([*words, ""]):
        idle = not kept or kept[-1] == "and" or following in _NO_COMMA_BEFORE
        if word != "," or not idle:
            kept.append(word)
    return kept
