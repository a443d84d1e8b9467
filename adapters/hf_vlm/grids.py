"""The grids on which the visual tokens of a prompt lie: what is known, family by family."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from math import isqrt, prod
from typing import Any

from torch import Tensor

from adapters.hf_vlm.support import placeholder_ids

Grid = tuple[int, int, int]  # frames, rows, columns


@dataclass(frozen=True)
class Run:
    """Neighbouring placeholders of one kind: one picture, or several with nothing in between.

    Attributes:
        kind: "image" or "video".
        row: Row of the batch.
        start: Index of the first of them.
        length: How many.
    """

    kind: str
    row: int
    start: int
    length: int


Split = Callable[[Run], list[Grid | None]]


def visual_grids(config: Any, inputs: dict[str, Any]) -> list[list[Grid | None]]:
    """See :meth:`adapters.hf_vlm.target.HFTarget.visual_grids`."""
    kind = config.model_type
    if kind in _EQUAL:
        split = _equal(_EQUAL[kind](config))
    elif kind in _SIZED:
        split = _sized(config, inputs)
    else:
        split = _unknown
    runs = _runs(inputs, placeholder_ids(config))
    return [[grid for run in row for grid in split(run)] for row in runs]


def _runs(inputs: dict[str, Any], kinds: dict[int, str]) -> Iterator[list[Run]]:
    """The runs of every row, in order; padding is not looked at."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    if mask is not None:
        ids = ids.masked_fill(mask == 0, -1)
    for row, tokens in enumerate(ids.tolist()):
        found, start = [], 0
        for token, group in groupby(tokens):
            length = sum(1 for _ in group)
            if token in kinds:
                found.append(Run(kinds[token], row, start, length))
            start += length
        yield found


def _unknown(run: Run) -> list[Grid | None]:
    """Pictures of any resolution have tokens between and behind their tiles: no one grid."""
    return [None]


def _equal(grid: Grid | None) -> Split:
    """Every picture or tile lies on the same grid."""

    def split(run: Run) -> list[Grid | None]:
        if grid is None or run.length % prod(grid):
            return [None]
        return [grid] * (run.length // prod(grid))

    return split


def _sized(config: Any, inputs: dict[str, Any]) -> Split:
    """Every picture and clip has a grid of its own, told by the processor."""
    positions = inputs.get("position_ids")
    told: dict[str, deque[Grid]] = {}
    for kind in ("image", "video"):
        table = inputs.get(f"{kind}_grid_thw")
        if table is not None:
            told[kind] = deque(_merged(table, config))
    if not told and positions is not None:
        return _placed(positions)

    def split(run: Run) -> list[Grid | None]:
        queue, rest = told.get(run.kind, deque()), run.length
        found: list[Grid | None] = []
        while rest:
            if not queue or prod(queue[0]) > rest:
                queue.clear()  # sizes and placeholders do not fit: whose they are is lost
                return [None]
            grid = queue.popleft()
            found.append(grid)
            rest -= prod(grid)
        return found

    return split


def _merged(table: Tensor, config: Any) -> Iterator[Grid]:
    """Grids in tokens of the model, from ``(pictures, 3)`` frames, rows and columns of patches."""
    side = config.vision_config.spatial_merge_size
    for frames, rows, columns in table.tolist():
        grid = (frames, rows // side, columns // side)
        if config.model_type == "qwen3_vl":  # words, the time, stand in front of every frame
            yield from [(1, *grid[1:])] * frames
        else:
            yield grid


def _placed(positions: Tensor) -> Split:
    """Grids from ``(..., batch, n)`` rotary positions on axes, the last two row and column.

    ``generate`` drops the sizes once it has computed these.
    """
    row_axis, column_axis = positions[-2:].tolist()

    def split(run: Run) -> list[Grid | None]:
        span = slice(run.start, run.start + run.length)
        down, across = row_axis[run.row][span], column_axis[run.row][span]
        places = [(y - down[0], x - across[0]) for y, x in zip(down, across, strict=True)]
        rows, columns = (max(axis) + 1 for axis in zip(*places, strict=True))
        frames, rest = divmod(run.length, rows * columns)
        orderly = [(i // columns % rows, i % columns) for i in range(run.length)]
        return [(frames, rows, columns) if places == orderly and not rest else None]

    return split


def _patches(vision: Any, merged: float = 1) -> Grid:
    """The patches of a picture, ``merged`` along each side to one token."""
    height, width = _pair(vision.image_size)
    patch_height, patch_width = _pair(vision.patch_size)
    return 1, int(height // patch_height / merged), int(width // patch_width / merged)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _llava(config: Any) -> Grid | None:
    """A tower's class token must be there and be dropped, or be neither."""
    leads = {"clip_vision_model": True, "siglip_vision_model": False}
    drops = config.vision_feature_select_strategy == "default"
    vision = config.vision_config
    return _patches(vision) if leads.get(vision.model_type) is drops else None


def _gemma3(config: Any) -> Grid:
    side = isqrt(config.mm_tokens_per_image)
    return 1, side, side


# Families whose pictures, or the tiles they are cut into, all have the same number of tokens.
_EQUAL: dict[str, Callable[[Any], Grid | None]] = {
    "gemma3": _gemma3,
    "idefics3": lambda config: _patches(config.vision_config, config.scale_factor),
    "internvl": lambda config: _patches(config.vision_config, 1 / config.downsample_ratio),
    "llava": _llava,
    "smolvlm": lambda config: _patches(config.vision_config, config.scale_factor),
}
# Families whose processors return the size of every picture.
_SIZED = ("qwen2_5_vl", "qwen2_vl", "qwen3_vl")
