"""The table of nearest codes: order, metric, dtype, storage, vocabulary ids."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from image_ar.discrete.neighbours import Neighbours
from tests.image_ar.discrete.oracle import LISTS, POSITIONS

FOUR = torch.tensor([[1, 0], [3, 0.3], [0.2, 1], [0.9, 0.5]])


@pytest.mark.parametrize(("normalize", "first"), [(False, [3, 2, 1]), (True, [1, 3, 2])])
def test_metric_is_that_of_the_rows_or_of_their_directions(
    normalize: bool, first: list[int]
) -> None:
    table = Neighbours.build(FOUR, 3, normalize)
    assert table.of(torch.tensor(0), 3).tolist() == first


@pytest.mark.parametrize("chunk", [1, 4, 1024])
def test_lists_of_the_oracle_in_any_chunks(chunk: int) -> None:
    table = Neighbours.build(POSITIONS, 5, normalize=False, chunk=chunk)
    assert table.table.tolist() == LISTS
    assert table.of(torch.tensor([[3], [5]]), 2).tolist() == [[[1, 0]], [[4, 3]]]


def test_a_prefix_of_the_full_sort_and_ties_by_number() -> None:
    rows = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)).double()
    rows[7] = rows[200]
    table = Neighbours.build(rows, 9, normalize=False, chunk=64)
    full = torch.cdist(rows, rows).fill_diagonal_(float("inf")).sort(stable=True).indices
    assert torch.equal(table.table.long(), full[:, :9])
    assert table.of(torch.tensor([7, 200]), 1).tolist() == [[200], [7]]


@pytest.mark.parametrize(
    ("codes", "dtype"), [(6, torch.uint8), (256, torch.uint8), (257, torch.int16)]
)
def test_smallest_dtype(codes: int, dtype: torch.dtype) -> None:
    rows = torch.arange(codes).unsqueeze(1)
    table = Neighbours.build(rows, 1, normalize=False)
    assert table.table.dtype == dtype
    assert table.of(torch.tensor(codes - 1), 1).item() == codes - 2


def test_saved_and_loaded(tmp_path: Path) -> None:
    table = Neighbours.build(POSITIONS, 3, normalize=True)
    table.save(tmp_path / "near.safetensors")
    loaded = Neighbours.load(tmp_path / "near.safetensors", POSITIONS)
    assert torch.equal(loaded.table, table.table)
    assert (loaded.table.dtype, loaded.normalize, loaded.k_max) == (torch.uint8, True, 3)


def test_another_codebook_and_damage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "near.safetensors"
    table = Neighbours.build(POSITIONS, 3, normalize=False)
    table.save(path)
    with pytest.raises(ValueError, match="neighbour table of another codebook"):
        Neighbours.load(path, POSITIONS + 1e-3)
    Neighbours(table.table.clone().fill_(9), table.fingerprint, False).save(path)
    with pytest.raises(ValueError, match="damaged"):
        Neighbours.load(path, POSITIONS)
    save_file({"other": torch.zeros(1)}, str(path))
    with pytest.raises(ValueError, match="no neighbour table"):
        Neighbours.load(path, POSITIONS)


def test_k_is_checked() -> None:
    table = Neighbours.build(POSITIONS, 3, normalize=False)
    assert table.of(torch.tensor(0), 0).shape == (0,)
    with pytest.raises(ValueError, match="between 0 and 3, got 4"):
        table.of(torch.tensor(0), 4)
    for k in (0, 6):
        with pytest.raises(ValueError, match="between 1 and 5"):
            Neighbours.build(POSITIONS, k, normalize=False)


def test_codes_inside_a_larger_vocabulary() -> None:
    ids = torch.tensor([14, 13, 12, 11, 10, 4])
    table = Neighbours.build(POSITIONS, 5, normalize=False, ids=ids)
    found = table.of(torch.tensor([14, 4, 0, 12, 99]), 2)
    assert found.tolist() == [[13, 12], [10, 11], [-1, -1], [14, 13], [-1, -1]]


@pytest.mark.parametrize("ids", [[1, 2, 3], [0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, -1]])
def test_maps_to_ids_are_checked(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="6 different ids"):
        Neighbours.build(POSITIONS, 2, normalize=False, ids=torch.tensor(ids))
