"""Who wrote each cell of a generated picture, as a tint over the picture with a legend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from PIL import Image, ImageDraw

# Colours that stay apart for every common kind of colour blindness (Okabe and Ito 2008); a cell
# that the target wrote without a draft keeps its own colours.
COLOURS: dict[str, tuple[int, int, int] | None] = {
    "accepted": (0, 158, 115),
    "corrected": (230, 159, 0),
    "bonus": (86, 180, 233),
    "regenerated": (204, 121, 167),
    "target": None,
}
MEANINGS = {
    "accepted": "drafted, accepted",
    "corrected": "refused, redrawn",
    "bonus": "added after a full draft",
    "regenerated": "island, regenerated",
    "target": "target, no draft",
}
_SIDE = 512  # pixels that the picture is enlarged to at least
_TINT = 0.55
_LINE = 18
_MARK = 10


def draw_heatmap(
    image: Image.Image, origins: Sequence[str], grid: tuple[int, int], legend: bool = True
) -> Image.Image:
    """The picture, enlarged by a whole factor where it is small, with every cell tinted.

    Args:
        image: The picture; not changed.
        origins: Who wrote each cell, row by row: keys of :data:`COLOURS`.
        grid: Rows and columns of cells.
        legend: Put a legend with shares below the picture.

    Raises:
        ValueError: Another number of cells than the grid has, or an unknown origin.
    """
    rows, columns = grid
    if len(origins) != rows * columns:
        raise ValueError(f"{len(origins)} cells given for a grid of {rows} x {columns}")
    unknown = sorted(set(origins) - set(COLOURS))
    if unknown:
        raise ValueError(f"unknown origin {', '.join(unknown)}; known: {', '.join(COLOURS)}")
    factor = max(1, -(-_SIDE // max(image.size)))
    size = (image.width * factor, image.height * factor)
    picture = image.convert("RGB").resize(size, Image.Resampling.NEAREST)
    tinted = picture.copy()
    draw = ImageDraw.Draw(tinted)
    for cell, origin in enumerate(origins):
        colour = COLOURS[origin]
        if colour is not None:
            draw.rectangle(_box(cell, grid, size), fill=colour)
    blended = Image.blend(picture, tinted, _TINT)
    return _with_legend(blended, Counter(origins)) if legend else blended


def _box(cell: int, grid: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels of a cell, the last one included as Pillow draws it."""
    row, column = divmod(cell, grid[1])
    left, right = column * size[0] // grid[1], (column + 1) * size[0] // grid[1]
    top, bottom = row * size[1] // grid[0], (row + 1) * size[1] // grid[0]
    return left, top, right - 1, bottom - 1


def _with_legend(picture: Image.Image, counts: Counter[str]) -> Image.Image:
    """The picture above one line for each origin that occurs."""
    present = [origin for origin in COLOURS if counts[origin]]
    height = _LINE * len(present) + _LINE // 2
    page = Image.new("RGB", (picture.width, picture.height + height), "white")
    page.paste(picture, (0, 0))
    draw = ImageDraw.Draw(page)
    for line, origin in enumerate(present):
        top = picture.height + _LINE // 2 + line * _LINE
        mark = (8, top, 8 + _MARK, top + _MARK)
        draw.rectangle(mark, fill=COLOURS[origin], outline=(110, 110, 110))
        share = counts[origin] / counts.total()
        draw.text((26, top - 1), f"{MEANINGS[origin]}: {share:.0%}", fill=(40, 40, 40))
    return page
