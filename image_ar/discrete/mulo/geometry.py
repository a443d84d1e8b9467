"""Which cells of a draft are drawn anew, and in what order. Pure: no model, no state.

MuLo-SD (arXiv 2601.05149): cells on which the target puts too little mass are refused, the cells
around them join, and what hangs together is an *island*. Islands are drawn anew side by side.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from image_ar.discrete.grid import Grid
from image_ar.discrete.neighbours import Neighbours

Cell = tuple[int, int]
ORDERS = ("raster", "zipar")


def pooled_mass(p: Tensor, units: Tensor, neighbours: Neighbours | None, k: int) -> Tensor:
    """The target's mass on each unit and on its ``k`` nearest codes.

    Args:
        p: ``(..., vocab)`` laws.
        units: ``(...)`` the unit each law judges.
        neighbours: Table of nearest codes; not read where ``k`` is 0.
        k: Codes pooled with the unit.

    Returns:
        ``(...)`` in the number format of ``p``.
    """
    own = p.gather(-1, units.unsqueeze(-1))
    if not k:
        return own.squeeze(-1)
    assert neighbours is not None
    near = neighbours.of(units, k)
    around = p.gather(-1, near.clamp(min=0)) * (near >= 0)
    return own.squeeze(-1) + around.sum(-1)


def spread(grid: Grid, refused: Iterable[Cell], radius: int) -> list[Cell]:
    """Refused cells and those at most ``radius`` rows and columns away, none before the first.

    Returns:
        The cells in raster order.
    """
    cells = sorted(refused)
    if not cells:
        return []
    return [cell for cell in grid.around(cells, radius) if cell >= cells[0]]


def wave_numbers(
    grid: Grid, cells: Iterable[Cell], order: str = "raster", window: int = 1
) -> dict[Cell, int]:
    """In which wave each cell is drawn; every island starts at 0.

    Args:
        grid: The picture's.
        cells: To be drawn.
        order: ``raster`` draws an island cell by cell; ``zipar`` draws its rows together, each as
            far as the row above it allows (ZipAR, arXiv 2412.04062).
        window: With ``zipar``, columns that the row above must be ahead; a row as wide as that is
            finished before the next begins, as in raster order.
    """
    waves: dict[Cell, int] = {}
    for island in grid.islands(cells):
        if order == "raster":
            waves.update({cell: place for place, cell in enumerate(island)})
        else:
            waves.update(_staggered(island, window))
    return waves


def _staggered(island: list[Cell], window: int) -> dict[Cell, int]:
    """A cell comes after its left neighbours and after those above in fewer columns than a window.

    Args:
        island: In raster order.
        window: Columns.
    """
    waves: dict[Cell, int] = {}
    above: list[Cell] = []
    row: list[Cell] = []
    for cell in island:
        if row and cell[0] != row[0][0]:
            above, row = row, []
        before = [waves[other] for other in above if other[1] < cell[1] + window]
        before += [waves[other] for other in row[-1:]]
        waves[cell] = max(before, default=-1) + 1
        row.append(cell)
    return waves
