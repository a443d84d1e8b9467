"""Every word the small world can say, and the names of its attributes."""

from __future__ import annotations

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black")
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped", "dotted", "barred", "checked")
BACKGROUNDS = ("white", "cream", "grey", "mint", "lilac", "peach")
COUNTS = ("zero", "one", "two", "three", "four", "five", "six")
DIRECTIONS = ("right", "left", "up", "down")
MOTIONS = ("still", *DIRECTIONS, "bounces")
# How a thing goes that travels so many cells during a clip.
PACES = {1: "drifts", 2: "runs"}

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
    "a and the on at from is are it in of to two shape shapes picture clip image video frame "
    "frames shows upper middle lower left right centre sits stays moves every all each"
)
_CHAT = "user assistant system how many which does do"


def words() -> list[str]:
    """Return the whole vocabulary in a fixed order, punctuation first."""
    groups: list[str] = [". , : ; ?", " ".join(SHAPES)]
    groups += [" ".join(group) for group in (COLOURS, SIZES, TEXTURES, BACKGROUNDS, COUNTS[1:])]
    groups += [" ".join(MOTIONS), " ".join(PACES.values()), _GRAMMAR]
    groups += [" ".join(PICTURE_PROMPTS + CLIP_PROMPTS), " ".join(STYLE_PROMPTS), _CHAT]
    return list(dict.fromkeys(" ".join(groups).split()))
