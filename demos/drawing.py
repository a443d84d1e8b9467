"""Pictures in the making: drawn side by side, shown a few times a second, off the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from demos.racing import Runner, race
from mmspec.heatmap import draw_heatmap
from mmspec.pipelines.image_run import to_image
from mmspec.trace import UnitRecord

SIDE = 512  # pixels that pictures are enlarged to at least
Cells = list[UnitRecord | None]


class Easel:
    """A run beside its picture as far as it is known.

    Attributes:
        runner: The run.
        cells: Who wrote each cell so far, as of the last look.
        image: The picture of them; None before the first.

    Args:
        runner: The run.
        target: Its target, which decodes.
    """

    def __init__(self, runner: Runner, target: Any) -> None:
        self.runner, self._target = runner, target
        self._positions: list[int] = target.grid.cell_positions()
        self.grid: tuple[int, int] = (target.grid.rows, target.grid.columns)
        self.cells: Cells = [None] * len(self._positions)
        self.image: Image.Image | None = None

    @property
    def drawn(self) -> int:
        """Cells that are known."""
        return sum(cell is not None for cell in self.cells)

    def look(self) -> None:
        """Decode what is new; the last time, when the picture is complete, on the clock."""
        before = self.drawn
        self.cells = cells_of(self.runner.trace.units[0], self._positions)
        if self.drawn == before:
            return
        if self.runner.finished:
            with self.runner.timed():
                self.image = decode(self._target, self.cells)
        else:
            self.image = decode(self._target, self.cells)


def draw(easels: Sequence[Easel], pause: float) -> Iterator[None]:
    """Run all to the end, and stop for whoever watches.

    Where decoding is slow there are fewer stops: it takes a third of the time at most.

    Args:
        easels: The runs.
        pause: Least seconds of work between two stops.

    Yields:
        Whenever there is something new to be seen, and whenever a picture is complete.
    """
    by_runner = {easel.runner: easel for easel in easels}
    due = 0.0
    for runner, _ in race(list(by_runner)):
        start = time.perf_counter()
        if runner.finished:
            by_runner[runner].look()
        if start < due and not runner.finished:
            continue
        for easel in easels:
            if easel.runner.trace.units:
                easel.look()
        spent = time.perf_counter() - start
        yield
        due = time.perf_counter() + max(pause, 2 * spent)


def cells_of(records: Sequence[UnitRecord], positions: Sequence[int]) -> Cells:
    """Who wrote each cell so far; None where nothing is yet.

    Args:
        records: Of one row, in the order of writing.
        positions: Output position of every cell.
    """
    known = {record.place: record for record in records}
    return [known.get(position) for position in positions]


@torch.inference_mode()
def decode(target: Any, cells: Cells) -> Image.Image | None:
    """The picture that the cells known so far make; None before the first.

    A cell that is not known yet is decoded as the last one before it that is: decoders look at
    whole pictures, and this leaves the known cells nearest to what they will be.
    """
    last = next((cell for cell in cells if cell is not None), None)
    if last is None:
        return None
    units = []
    for cell in cells:
        last = cell or last
        units.append(last.unit)
    pixels = target.to_pixels([units])
    return to_image(pixels[0].float().clamp(0, 1).cpu())


def enlarged(image: Image.Image) -> Image.Image:
    """By a whole factor, pixel by pixel, where it is small."""
    factor = max(1, -(-SIDE // max(image.size)))
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST)


def tinted(image: Image.Image, cells: Cells, grid: tuple[int, int]) -> Image.Image:
    """The picture, enlarged, under a tint of who wrote each cell."""
    origins = ["target" if cell is None else cell.origin for cell in cells]
    return draw_heatmap(image, origins, grid, legend=False)


def without_unknown(image: Image.Image, cells: Cells, grid: tuple[int, int]) -> Image.Image:
    """The picture with the cells that nobody has drawn yet left transparent."""
    if None not in cells:
        return image
    rows, columns = grid
    alpha = Image.new("L", (columns, rows))
    alpha.putdata([0 if cell is None else 255 for cell in cells])
    shown = image.convert("RGBA")
    shown.putalpha(alpha.resize(image.size, Image.Resampling.NEAREST))
    return shown
