"""Runs of placeholders in the coordinates of a drafter, and the grids that belong to them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lm_drafting.vision import Grid, Run, find_runs

IMAGE, VIDEO, TEXT = 90, 91, 7


def prompt(*parts: int) -> list[int]:
    """Tokens from lengths: positive for text, negative for a picture."""
    return [token for part in parts for token in [TEXT if part > 0 else IMAGE] * abs(part)]


def find(*rows: list[int], grids: list[list[Grid | None]] | None = None) -> list[list[Run]]:
    longest = max(map(len, rows))
    # Padding looks like a picture, so that reading past a row's end shows.
    ids = torch.tensor([row + [IMAGE] * (longest - len(row)) for row in rows])
    return find_runs(ids, [len(row) for row in rows], (IMAGE, VIDEO), grids)


def slow_runs(row: list[int]) -> list[tuple[int, int]]:
    """By the book: rows ``j`` whose token ``j + 1`` is a placeholder, one after the other."""
    found: list[tuple[int, int]] = []
    for j in range(len(row) - 1):
        if row[j + 1] not in (IMAGE, VIDEO):
            continue
        if found and found[-1][1] == j:
            found[-1] = (found[-1][0], j + 1)
        else:
            found.append((j, j + 1))
    return found


def test_shifted_by_one() -> None:
    assert find(prompt(4, -10, 6)) == [[Run(3, 13)]]


def test_at_both_ends() -> None:
    assert find(prompt(-3, 2, -4)) == [[Run(0, 2), Run(4, 8)]]
    assert find(prompt(-5)) == [[Run(0, 4)]]


def test_single_first_token_has_no_row() -> None:
    assert find(prompt(-1, 3, -2)) == [[Run(3, 5)]]


def test_ragged_batch_with_and_without_pictures() -> None:
    found = find(prompt(2, -3, 1, -1, 2), prompt(5), prompt(-2, 1), prompt(1))
    assert found == [[Run(1, 4), Run(5, 6)], [], [Run(0, 1)], []]


def test_no_placeholders() -> None:
    assert find_runs(torch.tensor([[1, 2, 3]]), [3], ()) == [[]]


def test_two_kinds_that_touch_are_one_run() -> None:
    assert find([TEXT, IMAGE, IMAGE, VIDEO, TEXT]) == [[Run(0, 3)]]


@pytest.mark.parametrize("seed", range(20))
def test_equals_a_slow_search(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows: list[list[int]] = []
    for _ in range(5):
        length = int(torch.randint(1, 15, (), generator=generator))
        kinds = torch.tensor([IMAGE, VIDEO, TEXT, 8])
        picks: Tensor = torch.randint(0, 4, (length,), generator=generator)
        rows.append(kinds[picks].tolist())
    found = find(*rows)
    assert [[(run.start, run.end) for run in runs] for runs in found] == list(map(slow_runs, rows))


def test_grids_in_order() -> None:
    grids: list[list[Grid | None]] = [[(1, 2, 3), (2, 2, 2)], [(1, 1, 4)]]
    found = find(prompt(1, -6, 1, -8), prompt(2, -4, 3), grids=grids)
    assert found == [[Run(0, 6, (1, 2, 3)), Run(7, 15, (2, 2, 2))], [Run(1, 5, (1, 1, 4))]]


def test_touching_pictures_of_one_shape_add_up() -> None:
    assert find(prompt(1, -12), grids=[[(1, 2, 2), (2, 2, 2)]]) == [[Run(0, 12, (3, 2, 2))]]


def test_touching_pictures_of_two_shapes_have_no_grid() -> None:
    found = find(prompt(1, -12, 1, -6), grids=[[(1, 2, 3), (1, 3, 2), (1, 2, 3)]])
    assert found == [[Run(0, 12), Run(13, 19, (1, 2, 3))]]


def test_clip_cut_by_timestamps() -> None:
    found = find(prompt(1, -4, 2, -8), grids=[[(3, 2, 2)]])
    assert found == [[Run(0, 4, (1, 2, 2)), Run(6, 14, (2, 2, 2))]]


def test_grids_that_do_not_add_up() -> None:
    assert find(prompt(1, -5, 1, -6), grids=[[(1, 2, 2), (1, 2, 3)]]) == [[Run(0, 5), Run(6, 12)]]
    assert find(prompt(1, -6), grids=[[(1, 2, 2)]]) == [[Run(0, 6)]]


def test_a_square_is_not_guessed() -> None:
    assert find(prompt(1, -9), grids=[[]]) == [[Run(0, 9)]]
    assert find(prompt(1, -9)) == [[Run(0, 9)]]


def test_unknown_grid_hides_those_behind_it() -> None:
    found = find(prompt(1, -4, 1, -7, 1, -4), grids=[[(1, 2, 2), None, (1, 7, 1)]])
    assert [run.grid for run in found[0]] == [(1, 2, 2), None, None]


def test_first_token_takes_its_grid_along_but_not_the_next() -> None:
    found = find(prompt(-4, 1, -4), grids=[[(1, 2, 2), (1, 4, 1)]])
    assert found == [[Run(0, 3), Run(4, 8, (1, 4, 1))]]
    found = find(prompt(-1, 1, -4), grids=[[(1, 1, 1), (1, 4, 1)]])
    assert found == [[Run(1, 5, (1, 4, 1))]]
