"""What fresh slots of a window hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from image_ar.discrete.grid import Grid
from image_ar.discrete.initialisation import (
    INITIALISATIONS,
    Initialiser,
    forced_table,
    source_table,
)

GRID = Grid(3, 4, line_ids=(90,))
RANDOM = 7  # the only random token of these tests


class NoNoise:
    def at(self, stream: str, positions: Tensor) -> Tensor:
        return torch.zeros(positions.shape, dtype=torch.float64)


def fill(
    how: str,
    made: list[int],
    known: list[int | None],
    likeliest: list[int] | None = None,
    prompt: int = 2,
) -> list[int]:
    """A window after ``made`` tokens; None marks fresh slots."""
    tokens = torch.tensor([[55] * prompt + made])
    state: Any = SimpleNamespace(tokens=tokens, prompt_lengths=torch.tensor([prompt]))
    units = torch.tensor([[88 if unit is None else unit for unit in known]])
    mask = torch.tensor([[unit is not None for unit in known]])
    positions = len(made) + torch.arange(len(known)).unsqueeze(0)
    initialiser = Initialiser(GRID, how, torch.tensor([RANDOM]))
    best = None if likeliest is None else torch.tensor([likeliest])
    noise: Any = NoNoise()
    filled: list[int] = initialiser.fill(units, mask, positions, best, state, noise)[0].tolist()
    return filled


def test_tables_of_a_grid_with_line_ends() -> None:
    assert forced_table(GRID).tolist() == [-1, -1, -1, -1, 90] * 3
    assert source_table(GRID, "random").tolist() == [-1] * 15
    left = [-1, 0, 1, 2, -1, -1, 5, 6, 7, -1, -1, 10, 11, 12, -1]
    assert source_table(GRID, "left").tolist() == source_table(GRID, "left_law").tolist() == left
    above = [-1] * 5 + [0, 1, 2, 3, -1, 5, 6, 7, 8, -1]
    assert source_table(GRID, "above").tolist() == above


def test_left_copies_the_last_token_along_the_row() -> None:
    assert fill("left", [1, 2], [None, None, 90, None, None]) == [2, 2, 90, RANDOM, RANDOM]
    assert fill("left", [1], [5, None, None, 90]) == [5, 5, 5, 90]
    assert fill("left", [], [None, None]) == [RANDOM, RANDOM]


def test_known_slots_stay() -> None:
    for how in INITIALISATIONS:
        assert fill(how, [1], [5, 6, 7, 90, 8], [1, 5, 6, 7, 90, 8]) == [5, 6, 7, 90, 8]


def test_above_copies_the_row_above_committed_or_drafted() -> None:
    first = [1, 2, 3, 4, 90]
    assert fill("above", first, [None, None, None, None]) == [1, 2, 3, 4]
    assert fill("above", [*first, 5], [None, 6, None, 90, None]) == [2, 6, 4, 90, 5]
    assert fill("above", [1], [2, None, None, 90, None, None]) == [2, RANDOM, RANDOM, 90, 1, 2]
    two_rows_up = [None] * 4 + [90] + [None] * 4
    assert fill("above", first, two_rows_up) == [1, 2, 3, 4, 90, 1, 2, 3, 4]


def test_left_law_takes_the_likeliest_token_of_the_law_at_the_left() -> None:
    assert fill("left_law", [1, 2], [None, None], [3, -1, -1]) == [3, 3]
    assert fill("left_law", [1], [5, None, None], [4, 6, -1, -1]) == [5, 6, 6]
    assert fill("left_law", [1, 2], [None, None], [-1, -1, -1]) == [2, 2]


def test_random_tokens_are_image_tokens_and_belong_to_their_position() -> None:
    ids = torch.tensor([3, 5, 8])
    initialiser = Initialiser(GRID, "random", ids)
    positions = torch.arange(15).unsqueeze(0)
    state: Any = SimpleNamespace(tokens=torch.zeros(1, 20), prompt_lengths=torch.tensor([1]))
    tape = torch.linspace(0, 1 - 1e-9, 15, dtype=torch.float64).unsqueeze(0)
    noise: Any = SimpleNamespace(at=lambda stream, at: tape.gather(1, at))
    none = torch.zeros(1, 15, dtype=torch.bool)
    blank = torch.zeros(1, 15, dtype=torch.long)
    filled = initialiser.fill(blank, none, positions, None, state, noise)
    assert filled.tolist() == [[3] * 5 + [5] * 5 + [8] * 5]
    later = initialiser.fill(blank[:, 4:], none[:, 4:], positions[:, 4:], None, state, noise)
    assert torch.equal(later, filled[:, 4:])


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="initialise must be one of random, left, above, left_law"):
        Initialiser(GRID, "below", torch.arange(3))
    with pytest.raises(ValueError, match="image_ids is empty"):
        Initialiser(GRID, "left", torch.arange(0))
