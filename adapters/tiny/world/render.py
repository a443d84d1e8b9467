"""Anti-aliased pictures of scenes and clips, at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw

from .clips import Clip
from .scene import GRID, Scene, Thing

Colour = tuple[int, int, int]

PALETTE: dict[str, Colour] = {
    "red": (214, 48, 49),
    "orange": (243, 134, 30),
    "yellow": (246, 208, 38),
    "green": (46, 157, 79),
    "blue": (44, 104, 212),
    "purple": (136, 62, 180),
    "brown": (129, 82, 46),
    "black": (40, 42, 48),
}
TONES: dict[str, Colour] = {
    "white": (254, 254, 254),
    "cream": (252, 243, 205),
    "grey": (216, 218, 222),
    "mint": (208, 240, 222),
    "lilac": (227, 216, 246),
    "peach": (255, 221, 200),
}
# Width of a thing as a share of its cell.
EXTENTS = {"small": 0.5, "medium": 0.7, "large": 0.92}
_SUPERSAMPLE = 4
# Pictures smaller than this draw textures no finer than it does: nobody could tell them apart.
_FINEST = 96
# One stripe period, one dot spacing and one field of a chessboard, as shares of the picture: equal
# for every size of thing, so that a small thing still shows two or three of them.
_STRIPE = 0.052
_DOT = 0.05
_CHECK = 0.042


def _regular(points: int, inner: float, turn: float) -> list[tuple[float, float]]:
    """Corners of a star (`inner` < 1) or polygon on the unit circle, first corner on top."""
    count = points if inner == 1 else 2 * points
    corners = []
    for index in range(count):
        radius = 1.0 if inner == 1 or index % 2 == 0 else inner
        angle = turn - math.pi / 2 + 2 * math.pi * index / count
        corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    return corners


_ARM = 0.36
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)],
    "triangle": [(0.0, -0.92), (1.0, 0.82), (-1.0, 0.82)],
    "diamond": [(0.0, -1.0), (0.78, 0.0), (0.0, 1.0), (-0.78, 0.0)],
    "star": [(x, y + 0.06) for x, y in _regular(5, 0.45, 0.0)],
    "cross": [
        *[(-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM)],
        *[(_ARM, 1.0), (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM)],
    ],
}


def _shape_mask(shape: str, side: int, radius: float) -> Image.Image:
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    middle = side / 2
    if shape == "circle":
        box = (middle - radius, middle - radius, middle + radius, middle + radius)
        draw.ellipse(box, fill=255)
    else:
        corners = [(middle + radius * x, middle + radius * y) for x, y in _OUTLINES[shape]]
        draw.polygon(corners, fill=255)
    return mask


def _texture_mask(texture: str, side: int, picture: int) -> Image.Image:
    """Where ink goes on a cell of `side` pixels in a picture of `picture` pixels."""
    mask = Image.new("L", (side, side), 0)
    if texture != "plain":
        _TEXTURES[texture](ImageDraw.Draw(mask), side, picture)
    return mask


def _stripes(draw: ImageDraw.ImageDraw, side: int, picture: int) -> None:
    """Diagonal lines, from the lower left to the upper right."""
    period = _STRIPE * picture * math.sqrt(2)
    reach = int(2 * side / period) + 2
    for index in range(-reach, reach):
        left = side / 2 + (index - 0.22) * period
        right = left + 0.44 * period
        top, bottom = (side, -side / 2), (-side, side * 1.5)
        corners = [(left, *top), (right, *top), (right, *bottom), (left, *bottom)]
        draw.polygon([(x + shift, y) for x, shift, y in corners], fill=255)


def _dots(draw: ImageDraw.ImageDraw, side: int, picture: int) -> None:
    spacing, dot = _DOT * picture, 0.30 * _DOT * picture
    reach = int(side / spacing) + 1
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            x = side / 2 + (column + 0.5 * (row % 2)) * spacing
            y = side / 2 + row * spacing * 0.87
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=255)


def _bars(draw: ImageDraw.ImageDraw, side: int, picture: int) -> None:
    """Level lines."""
    period = _STRIPE * picture
    reach = int(side / period) + 1
    for index in range(-reach, reach + 1):
        top = side / 2 + (index - 0.22) * period
        draw.rectangle((0, top, side, top + 0.44 * period), fill=255)


def _checks(draw: ImageDraw.ImageDraw, side: int, picture: int) -> None:
    """A chessboard."""
    step = _CHECK * picture
    reach = int(side / step) + 1
    for row in range(-reach, reach + 1):
        for column in range(-reach + row % 2, reach + 1, 2):
            x, y = side / 2 + (column - 0.5) * step, side / 2 + (row - 0.5) * step
            draw.rectangle((x, y, x + step - 1, y + step - 1), fill=255)


_TEXTURES = {"striped": _stripes, "dotted": _dots, "barred": _bars, "checked": _checks}


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _ink(colour: Colour) -> Colour:
    """Colour of stripes and dots: light on a dark body, dark on a light one."""
    brightness = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    if brightness > 140:
        return _mix(colour, (70, 40, 10), 0.72)
    return _mix(colour, (255, 255, 255), 0.82)


@lru_cache(maxsize=4096)
def _sprite(
    shape: str, colour: str, size: str, texture: str, cell: int, picture: int
) -> Image.Image:
    """Draw one thing, supersampled, on a transparent cell of `cell` pixels."""
    scale = _SUPERSAMPLE
    side = cell * scale
    radius = EXTENTS[size] * side / 2
    body = PALETTE[colour]
    edge = max(1.0, picture / 150) * scale
    outline = _shape_mask(shape, side, radius)
    inside = _shape_mask(shape, side, radius - edge)
    sprite = Image.new("RGBA", (side, side), (*_mix(body, (0, 0, 0), 0.3), 0))
    sprite.putalpha(outline)
    sprite.paste(body, mask=inside)
    ink = _texture_mask(texture, side, max(picture, _FINEST) * scale)
    ink = ImageChops.multiply(ink, inside)
    sprite.paste(_ink(body), mask=ink)
    sprite.putalpha(outline)
    return sprite.reduce(scale)


def _draw(
    things: Sequence[Thing],
    centres: Sequence[tuple[float, float]],
    background: str,
    size: int,
    cell: int | None,
) -> Image.Image:
    image = Image.new("RGB", (size, size), TONES[background])
    extent = GRID * cell if cell else size
    margin = (size - extent) / 2
    for thing, (x, y) in zip(things, centres, strict=True):
        side = cell or math.ceil(size / GRID)
        sprite = _sprite(thing.shape, thing.colour, thing.size, thing.texture, side, size)
        corner = [round(margin + at * extent - sprite.width / 2) for at in (x, y)]
        image.paste(sprite, (corner[0], corner[1]), sprite)
    return image


def render(scene: Scene, size: int = 96, cell: int | None = None) -> Image.Image:
    """Draw a scene as an RGB picture of `size` x `size` pixels.

    The grid fills the picture, or has cells of `cell` pixels and a margin around it.
    """
    centres = [((thing.column + 0.5) / GRID, (thing.row + 0.5) / GRID) for thing in scene.things]
    return _draw(scene.things, centres, scene.background, size, cell)


def render_clip(
    clip: Clip, frames: int = 8, size: int = 96, cell: int | None = None
) -> list[Image.Image]:
    """Draw a clip as `frames` pictures evenly spaced in time, both ends included."""
    if frames < 2:
        raise ValueError(f"a clip needs at least 2 frames, got {frames}")
    scene = clip.scene
    times = [index / (frames - 1) for index in range(frames)]
    return [_draw(scene.things, clip.centres(time), scene.background, size, cell) for time in times]
