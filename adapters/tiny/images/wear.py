"""Artefacts as image tokenizers leave them, on batches of pictures; what is shown stays the same.

Every function takes pixels ``(batch, 3, 64, 64)`` in [0, 1] and a generator, mutates nothing and
returns new pixels. `break_things` alone destroys what is shown, and says where.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from adapters.tiny.world.scene import GRID

from .judge import CELLS, MARGIN
from .pictures import CELL, PATCH

Artefact = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
# From this far on a shifted thing counts as off the grid: torn apart at the edge of its cell.
_TORN = 6


def _between(low: float, high: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """One number for each picture, ``(count, 1, 1, 1)``."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)


def _rearrange(pixels: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Take pixel ``index[b, cell, i]`` of a cell as its pixel i; the margin stays."""
    inner = pixels[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
    cells = inner.unflatten(3, (GRID, CELL)).unflatten(2, (GRID, CELL)).transpose(3, 4)
    flat = cells.flatten(4).flatten(2, 3)
    moved = flat.gather(3, index[:, None].expand(-1, pixels.shape[1], -1, -1))
    moved = moved.unflatten(3, (CELL, CELL)).unflatten(2, (GRID, GRID)).transpose(3, 4)
    result = pixels.clone()
    result[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN] = moved.flatten(4).flatten(2, 3)
    return result


def _rolled(offsets: torch.Tensor) -> torch.Tensor:
    """Pixel indices ``(batch, 9, 400)`` that roll each cell by ``(batch, 9, 2)`` pixels."""
    source = (torch.arange(CELL) - offsets[..., None]) % CELL
    return (source[..., 0, :, None] * CELL + source[..., 1, None, :]).flatten(2)


def _shuffled(batch: int, generator: torch.Generator) -> torch.Tensor:
    """Pixel indices ``(batch, 9, 400)`` that shuffle the token-sized patches of each cell."""
    side = CELL // PATCH
    order = torch.rand(batch, CELLS, side * side, generator=generator).argsort(-1)
    steps = torch.arange(CELL)
    patch = (steps[:, None] // PATCH * side + steps // PATCH).flatten()
    source = order[..., patch]
    within = (steps[:, None] % PATCH * CELL + steps % PATCH).flatten()
    return (source // side * CELL + source % side) * PATCH + within


def nudge(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift each cell on its own by up to one pixel."""
    offsets = torch.randint(-1, 2, (len(pixels), CELLS, 2), generator=generator)
    return _rearrange(pixels, _rolled(offsets))


def shift(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift the whole picture by up to one pixel, repeating its edge."""
    side = pixels.shape[-1]
    offsets = torch.randint(-1, 2, (len(pixels), 2), generator=generator)
    steps = (torch.arange(side) - offsets[..., None]).clamp(0, side - 1)
    index = (steps[:, 0, :, None] * side + steps[:, 1, None, :]).flatten(1)
    moved = pixels.flatten(2).gather(2, index[:, None].expand(-1, pixels.shape[1], -1))
    return moved.view_as(pixels)


def blur(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gaussian blur of 0.4 to 1 pixel."""
    sigma = _between(0.4, 1.0, len(pixels), generator).flatten()
    taps = torch.arange(-3, 4)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(pixels.shape[1], 0)
    rows = functional.pad(pixels, (3, 3, 3, 3), "replicate").flatten(0, 1)[None]
    rows = functional.conv2d(rows, kernel[:, None, :, None], groups=len(kernel))
    rows = functional.conv2d(rows, kernel[:, None, None, :], groups=len(kernel))
    return rows.view_as(pixels)


def rescale(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Scale all pictures down to 44 to 60 pixels and up again."""
    side = pixels.shape[-1]
    smaller = int(torch.randint(44, 61, (), generator=generator))
    small = functional.interpolate(pixels, (smaller, smaller), mode="bilinear", antialias=True)
    return functional.interpolate(small, (side, side), mode="bilinear")


def compress(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Round the cosine coefficients of blocks of 8 x 8, the fine ones more: as JPEG does."""
    size = 8
    steps = torch.arange(size)
    basis = torch.cos(math.pi * steps[:, None] * (2 * steps + 1) / (2 * size)) / 2
    basis[0] /= math.sqrt(2)
    blocks = pixels.unflatten(3, (-1, size)).unflatten(2, (-1, size)).transpose(3, 4)
    strength = _between(0.01, 0.05, len(pixels), generator)[..., None, None]
    quantum = strength * (1 + steps[:, None] + steps)
    coefficients = (basis @ blocks @ basis.T / quantum).round() * quantum
    blocks = basis.T @ coefficients @ basis
    return blocks.transpose(3, 4).reshape(pixels.shape).clamp(0, 1)


def posterise(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Round to 16 to 32 levels a channel: with 12 and fewer, two tones become one."""
    levels = torch.randint(16, 33, (len(pixels), 1, 1, 1), generator=generator)
    return (pixels * (levels - 1)).round() / (levels - 1)


def fade(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pull every patch of a token's size towards its mean, by up to a third."""
    mean = functional.avg_pool2d(pixels, PATCH)
    flat = functional.interpolate(mean, scale_factor=float(PATCH), mode="nearest")
    return torch.lerp(pixels, flat, _between(0.1, 0.33, len(pixels), generator))


def tint(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Change brightness by up to 5 % and each channel by up to another 1.5 %."""
    gain = _between(0.95, 1.05, len(pixels), generator)
    channels = 1 + 0.03 * (torch.rand(len(pixels), 3, 1, 1, generator=generator) - 0.5)
    return (pixels * gain * channels).clamp(0, 1)


def noise(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gaussian noise on pixels and on patches of a token's size, up to 0.06 and 0.03."""
    batch, channels, side, _ = pixels.shape
    fine = torch.randn(pixels.shape, generator=generator)
    coarse = torch.randn(batch, channels, side // PATCH, side // PATCH, generator=generator)
    coarse = functional.interpolate(coarse, scale_factor=float(PATCH), mode="nearest")
    strength = _between(0.01, 0.06, batch, generator)
    return (pixels + strength * (fine + 0.5 * coarse)).clamp(0, 1)


# In the order in which `wear` applies them.
ARTEFACTS: dict[str, Artefact] = {
    "nudge": nudge,
    "shift": shift,
    "blur": blur,
    "rescale": rescale,
    "compress": compress,
    "posterise": posterise,
    "fade": fade,
    "tint": tint,
    "noise": noise,
}


def wear(
    pixels: torch.Tensor, generator: torch.Generator, share: float = 0.3, clean: float = 0.25
) -> torch.Tensor:
    """Apply every artefact to a random `share` of the pictures; leave a share `clean` alone."""
    result = pixels.clone()
    kept = torch.rand(len(pixels), generator=generator) < clean
    for artefact in ARTEFACTS.values():
        chosen = (torch.rand(len(pixels), generator=generator) < share) & ~kept
        if chosen.any():
            result[chosen] = artefact(result[chosen], generator)
    return result


def break_things(
    pixels: torch.Tensor, generator: torch.Generator, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Break a share of the cells: half lose the order of their patches, half are torn in four.

    Returns:
        The pixels, and ``(batch, 9)`` where cells were broken.
    """
    batch = len(pixels)
    broken = torch.rand(batch, CELLS, generator=generator) < share
    shuffled = torch.rand(batch, CELLS, 1, generator=generator) < 0.5
    bounds = (_TORN, CELL - _TORN + 1)
    torn = _rolled(torch.randint(*bounds, (batch, CELLS, 2), generator=generator))
    index = torch.where(shuffled, _shuffled(batch, generator), torn)
    index = torch.where(broken[..., None], index, torch.arange(CELL * CELL))
    return _rearrange(pixels, index), broken
