"""Cells, positions, forced tokens and neighbourhoods."""

from __future__ import annotations

import pytest

from image_ar.discrete.grid import Grid


def test_a_plain_grid_is_raster_order() -> None:
    grid = Grid(2, 3)
    assert (grid.cells, grid.length, grid.line) == (6, 6, 3)
    assert [grid.cell_of(i) for i in range(6)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert grid.forced_ids() == ()
    assert grid.cell_positions() == list(range(6))


def test_lines_and_pictures_may_end_in_tokens() -> None:
    grid = Grid(2, 2, line_ids=(7,), end_ids=(8, 9))
    assert (grid.cells, grid.length) == (4, 8)
    assert grid.forced_ids() == ((2, 7), (5, 7), (6, 8), (7, 9))
    assert [grid.cell_of(i) for i in range(8)] == [
        (0, 0), (0, 1), None, (1, 0), (1, 1), None, None, None,
    ]  # fmt: skip
    assert grid.cell_positions() == [0, 1, 3, 4]


@pytest.mark.parametrize("grid", [Grid(3, 4), Grid(3, 4, (1, 2)), Grid(3, 4, (1,), (2, 3))])
def test_positions_and_cells_are_inverse(grid: Grid) -> None:
    cells = [grid.cell_of(position) for position in grid.cell_positions()]
    assert cells == [(row, column) for row in range(3) for column in range(4)]
    assert [grid.position_of(*cell) for cell in cells if cell] == grid.cell_positions()
    forced = {position for position, _ in grid.forced_ids()}
    assert forced | set(grid.cell_positions()) == set(range(grid.length))
    assert forced.isdisjoint(grid.cell_positions())


def test_neighbours_stop_at_the_border() -> None:
    grid = Grid(3, 3)
    assert grid.neighbours(0, 0) == [(0, 1), (1, 0), (1, 1)]
    assert len(grid.neighbours(1, 1)) == 8
    assert grid.neighbours(0, 0, reach=0) == []
    assert len(grid.neighbours(0, 0, reach=2)) == 8


def test_what_a_refusal_reaches() -> None:
    """Two refused cells on a grid of 6 x 8, with everything before the first one left alone."""
    grid = Grid(6, 8)
    refused, first = [(1, 2), (4, 6)], 10
    for reach, sizes in ((1, [5, 9]), (2, [27])):
        cells = [c for c in grid.around(refused, reach) if grid.position_of(*c) >= first]
        assert [len(island) for island in grid.islands(cells)] == sizes
    near = [c for c in grid.around(refused, 1) if grid.position_of(*c) >= first]
    assert near[:5] == [(1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]


def test_islands_hang_together_over_corners() -> None:
    grid = Grid(3, 5)
    assert grid.islands([(2, 4), (0, 0), (1, 1)]) == [[(0, 0), (1, 1)], [(2, 4)]]
    assert grid.islands([]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Grid(0, 3), "at least one row and one column, got 0 x 3"),
        (lambda: Grid(2, 3).cell_of(6), "position 6 is outside the picture's 0 to 5"),
        (lambda: Grid(2, 3).position_of(2, 0), r"cell \(2, 0\) is outside the grid of 2 x 3"),
        (lambda: Grid(2, 3).neighbours(0, 3), "outside the grid"),
    ],
)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
