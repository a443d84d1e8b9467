"""Pooling, expansion, islands and waves, against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from image_ar.discrete.grid import Grid
from image_ar.discrete.mulo.geometry import pooled_mass, spread, wave_numbers
from image_ar.discrete.neighbours import Neighbours
from tests.image_ar.discrete.oracle import P, neighbours

GRID = Grid(6, 8)
REFUSED = [(4, 6), (1, 2)]


@pytest.mark.parametrize(
    ("k", "masses", "accepted"),
    [
        (0, (0.30, 0.22, 0.18, 0.14, 0.10, 0.06), {0}),
        (1, (0.52, 0.52, 0.48, 0.36, 0.28, 0.16), {0, 1, 2, 3}),
        (2, (0.70, 0.66, 0.70, 0.66, 0.58, 0.30), {0, 1, 2, 3, 4, 5}),
    ],
)
def test_mass_is_pooled_over_the_nearest_codes(
    k: int, masses: tuple[float, ...], accepted: set[int]
) -> None:
    pooled = pooled_mass(P.expand(6, 6), torch.arange(6), neighbours(), k)
    assert pooled.tolist() == pytest.approx(masses, abs=1e-6)
    # The last of k = 2 sums to the threshold itself up to rounding.
    assert {unit for unit in range(6) if pooled[unit] > 0.3 - 1e-6} == accepted


def test_units_that_are_no_codes_have_their_own_mass_only() -> None:
    table = Neighbours.build(torch.eye(3), 2, normalize=False, ids=torch.tensor([1, 2, 4]))
    law = torch.tensor([[0.4, 0.1, 0.2, 0.0, 0.3]])
    assert pooled_mass(law, torch.tensor([0]), table, 2).item() == pytest.approx(0.4)
    assert pooled_mass(law, torch.tensor([4]), table, 2).item() == pytest.approx(0.6)


def test_refusals_spread_but_not_before_the_first() -> None:
    near = spread(GRID, REFUSED, 1)
    block = [(row, column) for row in (3, 4, 5) for column in (5, 6, 7)]
    assert near == sorted([(1, 2), (1, 3), (2, 1), (2, 2), (2, 3), *block])
    assert len(near) == 14
    assert sorted(map(len, GRID.islands(near))) == [5, 9]
    far = spread(GRID, REFUSED, 2)
    assert len(far) == 27
    assert len(GRID.islands(far)) == 1
    assert spread(GRID, [], 1) == []


def test_islands_are_drawn_side_by_side_in_raster_order() -> None:
    waves = wave_numbers(GRID, spread(GRID, REFUSED, 1))
    assert [waves[cell] for cell in ((1, 2), (1, 3), (2, 1), (2, 2), (2, 3))] == [0, 1, 2, 3, 4]
    block = [(row, column) for row in (3, 4, 5) for column in (5, 6, 7)]
    assert [waves[cell] for cell in block] == list(range(9))


def test_zipar_opens_a_row_once_the_one_above_is_ahead() -> None:
    grid = Grid(3, 5)
    cells = [(row, column) for row in range(3) for column in range(5)]
    waves = wave_numbers(grid, cells, "zipar", window=2)
    # Row r begins 2 r waves after the first, then all rows advance a cell a wave.
    assert waves == {(row, column): 2 * row + column for row, column in cells}
    for window in (5, 9):
        assert wave_numbers(grid, cells, "zipar", window) == wave_numbers(grid, cells)
    assert max(wave_numbers(grid, cells, "zipar", 1).values()) == 4 + 2


def test_zipar_in_an_island_with_ragged_rows() -> None:
    island = [(0, 2), (0, 3), (1, 0), (1, 1), (1, 4), (2, 3)]
    waves = wave_numbers(Grid(3, 5), island, "zipar", window=1)
    # (1, 1) touches (0, 2) only over the corner and need not wait for it; (1, 4) waits for (0, 3).
    assert waves == {(0, 2): 0, (0, 3): 1, (1, 0): 0, (1, 1): 1, (1, 4): 2, (2, 3): 2}
