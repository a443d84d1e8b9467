"""Offsets of kept rows, and ViSpec's example positions of a whole prompt."""

from __future__ import annotations

import pytest
import torch

from lm_drafting.vision import Grid, VisualCompressor, find_runs
from lm_drafting.vision.positions import Stride, covered, tail
from tests.lm_drafting.vision.pictures import make, picture


def slow_covered(grid: Grid, stride: Stride) -> list[int]:
    """Middle of the token coordinates in each cell."""
    frames, rows, columns = grid
    found = []
    for frame in range(frames):
        for top in range(0, rows, stride[0]):
            for left in range(0, columns, stride[1]):
                down = range(top, min(top + stride[0], rows))
                across = range(left, min(left + stride[1], columns))
                row, column = down[(len(down) - 1) // 2], across[(len(across) - 1) // 2]
                found.append((frame * rows + row) * columns + column)
    return found


@pytest.mark.parametrize("grid", [(1, 4, 4), (1, 5, 7), (3, 3, 2), (2, 1, 1), (1, 1, 10)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (1, 4), (9, 9)])
def test_covered_is_the_middle_of_each_cell(grid: Grid, stride: Stride) -> None:
    offsets = covered(grid, stride).tolist()
    assert offsets == slow_covered(grid, stride)
    assert offsets == sorted(set(offsets))


def test_covered_examples() -> None:
    assert covered((1, 3, 3), (3, 3)).tolist() == [4]
    assert covered((1, 3, 3), (2, 2)).tolist() == [0, 2, 6, 8]
    assert covered((1, 1, 3), (1, 1)).tolist() == [0, 1, 2]


def test_tail() -> None:
    assert tail(10, 3).tolist() == [7, 8, 9]
    assert tail(4, 4).tolist() == [0, 1, 2, 3]
    assert tail(4, 0).tolist() == []
    with pytest.raises(ValueError, match="4 visual tokens has no place for the 5 rows"):
        tail(4, 5)


def drafter_positions(compressor: VisualCompressor, start_of_run: int = 4) -> list[int]:
    """Positions of a prompt of 20 tokens with ten visual ones, as a drafter lays it out."""
    ids = torch.ones(1, 20, dtype=torch.long)
    ids[0, start_of_run : start_of_run + 10] = 9
    (run,) = find_runs(ids, [20], [9])[0]
    made = compressor(picture(run.end - run.start))
    kept = (run.start + made.offsets[0]).tolist()
    # The last of the 20 rows carries the token sampled from the prompt.
    return [*range(run.start), *kept, *range(run.end, 20)]


@pytest.mark.parametrize(
    ("num_q", "positions"),
    [
        (1, [0, 1, 2, *range(13, 20)]),
        (2, [0, 1, 2, 12, *range(13, 20)]),
        (5, [0, 1, 2, 9, 10, 11, 12, *range(13, 20)]),
    ],
)
def test_vispec_example(num_q: int, positions: list[int]) -> None:
    spec = {"kind": "queries", "num_q": num_q, "heads": 4}
    assert drafter_positions(make(spec)) == positions
    # The example tells the shift by one: unshifted runs would lie elsewhere.
    assert drafter_positions(make(spec), start_of_run=5) != positions


def test_positions_of_a_strip() -> None:
    assert drafter_positions(make({"kind": "pool"})) == [0, 1, 2, 4, 8, 11, *range(13, 20)]
    spec = {"kind": "pool", "positions": "tail"}
    assert drafter_positions(make(spec)) == [0, 1, 2, 10, 11, 12, *range(13, 20)]
