"""Every word the small world can say, and the names of its attributes."""

from __future__ import annotations

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "diamond": "diamonds",
    "star": "stars",
    "cross": "crosses",
}
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black")
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped", "dotted")
BACKGROUNDS = ("white", "cream", "grey", "mint", "lilac", "peach")
COUNTS = ("zero", "one", "two", "three", "four", "five")
MOTIONS = ("still", "right", "left", "up", "down", "bounces")

# Row-major names of the nine cells, without article: "upper left" ... "lower right".
CELLS = (
    "upper left",
    "upper middle",
    "upper right",
    "middle left",
    "centre",
    "middle right",
    "lower left",
    "lower middle",
    "lower right",
)
CORNERS = (0, 2, 6, 8)

PICTURE_PROMPTS = ("describe the picture .", "what is in the picture ?", "tell me what you see .")
CLIP_PROMPTS = ("describe the clip .", "what happens in the clip ?", "tell me what moves .")
# One prompt per caption style, for readers who want to choose it.
STYLE_PROMPTS = (
    "list the shapes .",
    "say where everything is .",
    "write full sentences .",
    "make short notes .",
)

_GRAMMAR = (
    "a another and the on of to at from in it its is are as than two three four five one shape "
    "shapes picture clip shows upper middle lower left right centre corner beside below above "
    "rests sits stands moves stays still up down bounces ends keeps bouncing nothing else there "
    "everything empty larger smaller large lies first last no share colour them never with "
    "without above under over next between bigger around picture image video frame frames"
)
_CHAT = "user assistant system how many which does do"


def words() -> list[str]:
    """Return the whole vocabulary in a fixed order, punctuation first."""
    groups: list[str] = [". , : ; ?", " ".join(SHAPES), " ".join(PLURALS.values())]
    groups += [" ".join(group) for group in (COLOURS, SIZES, TEXTURES, BACKGROUNDS, COUNTS[1:])]
    groups += [" ".join(MOTIONS), _GRAMMAR, " ".join(PICTURE_PROMPTS + CLIP_PROMPTS)]
    groups += [" ".join(STYLE_PROMPTS), _CHAT]
    return list(dict.fromkeys(" ".join(groups).split()))


def cell_phrase(cell: int) -> str:
    """Return the long name of a cell: "the upper left corner", "the centre"."""
    return f"the {CELLS[cell]} corner" if cell in CORNERS else f"the {CELLS[cell]}"
