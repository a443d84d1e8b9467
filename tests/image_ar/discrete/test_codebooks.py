"""Neighbour tables of a target's codebook: computed once, kept in a file, refused where wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from image_ar.discrete import neighbours as module
from image_ar.discrete.building import build_mulo_rule
from image_ar.discrete.codebooks import neighbours_of
from image_ar.discrete.grid import Grid
from image_ar.discrete.neighbours import Neighbours
from image_ar.discrete.rule_building import build_lantern, build_lantern_plus
from mmspec.catalog import BuildContext
from tests.image_ar.discrete.oracle import POSITIONS

CODES = 40


def target(seed: int = 0, ids: torch.Tensor | None = None) -> Any:
    rows = torch.randn(CODES, 3, generator=torch.Generator().manual_seed(seed))
    made = SimpleNamespace(codebook=rows, codebook_normalized=True, grid=Grid(4, 4))
    if ids is not None:
        made.image_ids = ids
    return made


def never(*given: Any, **options: Any) -> Any:
    raise AssertionError("the table was computed again")


def test_a_table_is_computed_once_and_read_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tables" / "near.safetensors"
    plain = neighbours_of(target(), 5)
    made = neighbours_of(target(), 5, neighbours=file)
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    monkeypatch.setattr(Neighbours, "build", never)
    ids = torch.arange(CODES).flip(0) + 100
    for found in (made, neighbours_of(target(), 3, True, str(file))):
        assert torch.equal(found.table, plain.table)
    elsewhere = neighbours_of(target(ids=ids), 5, neighbours=file)
    units = torch.tensor([101, 139])
    assert torch.equal(elsewhere.of(units, 5), ids[plain.of(torch.tensor([38, 0]), 5)])
    assert neighbours_of(target(), 5, neighbours=made) is made


def test_wrong_tables_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "near.safetensors"
    neighbours_of(target(), 4, neighbours=file)
    with pytest.raises(ValueError, match="neighbour table of another codebook"):
        neighbours_of(target(1), 4, neighbours=file)
    with pytest.raises(ValueError, match=r"normalised rows.*normalize=true, or another file"):
        neighbours_of(target(), 4, False, file)
    with pytest.raises(ValueError, match="the 4 nearest codes and 5 are needed"):
        neighbours_of(target(), 5, neighbours=file)
    with pytest.raises(ValueError, match="the neighbour table holds the 5"):
        neighbours_of(target(), 6, neighbours=Neighbours.build(target().codebook, 5, True))


def test_a_killed_write_leaves_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(tensors: Any, path: Path, **rest: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "save_file", die)
    with pytest.raises(OSError, match="No space left"):
        neighbours_of(target(), 4, neighbours=tmp_path / "near.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("build", [build_lantern, build_lantern_plus, build_mulo_rule])
def test_rules_take_a_saved_table(build: Any, tmp_path: Path, monkeypatch: Any) -> None:
    options = {"k": 6, "neighbours": str(tmp_path / "near.safetensors"), "normalize": False}
    build(BuildContext(target(), options=options))
    monkeypatch.setattr(Neighbours, "build", never)
    assert build(BuildContext(target(), options=options)).certificate
    with pytest.raises(AssertionError, match="computed again"):
        build(BuildContext(target(), options={"k": 6}))


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("residual", ["official_static", "official_dynamic"])
def test_official_residuals_get_the_code_more_that_they_clear(residual: str, k: int) -> None:
    place = SimpleNamespace(codebook=POSITIONS, codebook_normalized=False)
    options = {"k": k, "residual": residual}
    rule = build_lantern(BuildContext(place, options=options))  # type: ignore[arg-type]
    policy = rule._chain.relaxation
    assert policy.neighbours.k_max == policy.clears == min(k + 1, 5)
