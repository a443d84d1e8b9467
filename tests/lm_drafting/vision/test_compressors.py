"""What holds for all compressors: counts, batching, descriptions, seeds."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from lm_drafting.vision import Grid, build_compressor
from lm_drafting.vision.building import KINDS
from lm_drafting.vision.compressor import SizedCompressor
from tests.lm_drafting.vision.pictures import HIDDEN, SPECS, alone, check_shape, make, picture

GRIDS: list[Grid | None] = [(1, 4, 4), (1, 3, 7), (3, 2, 3), None]


def name(spec: dict[str, Any]) -> str:
    return "-".join(str(value) for value in spec.values() if not isinstance(value, list))


def tokens(grid: Grid | None) -> int:
    return 13 if grid is None else grid[0] * grid[1] * grid[2]


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        ({"kind": "prune"}, 144),
        ({"kind": "pool"}, 144),
        ({"kind": "conv"}, 144),
        ({"kind": "resample"}, 8),
        ({"kind": "text-only"}, 0),
        ({"kind": "queries"}, 1),
        ({"kind": "latent"}, 64),
    ],
)
def test_rows_of_llava_pictures(spec: dict[str, Any], kept: int) -> None:
    assert make(spec)(picture(576, (1, 24, 24))).counts == (kept,)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_batch_equals_one_by_one(spec: dict[str, Any], grid: Grid | None) -> None:
    compressor, visual = make(spec), picture(tokens(grid), grid, runs=4)
    made = compressor(visual)
    check_shape(made, visual)
    if isinstance(compressor, SizedCompressor):
        assert made.counts == (compressor.kept(visual.tokens, grid),) * 4
    for run, count in enumerate(made.counts):
        own = compressor(alone(visual, run))
        assert own.counts == (count,)
        torch.testing.assert_close(made.rows[run, :count], own.rows[0])
        assert torch.equal(made.offsets[run, :count], own.offsets[0])
        if made.summary is not None:
            torch.testing.assert_close(made.summary[run], own.summary[0])


@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_reads_what_it_says(spec: dict[str, Any]) -> None:
    compressor = make(spec, row=24)
    made = compressor(picture(12, (1, 3, 4), row=24))
    width = 24 if compressor.reads == "fused" else HIDDEN
    assert made.rows.shape[-1] == width


@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_description_rebuilds_it(spec: dict[str, Any]) -> None:
    compressor = make(spec)
    described = compressor.spec()
    assert all(described[key] == spec[key] for key in spec if key != "branches")
    twin = build_compressor(json.loads(json.dumps(described)), hidden=HIDDEN, row=HIDDEN)
    assert twin is not None
    assert twin.spec() == described
    twin.load_state_dict(compressor.state_dict())
    visual = picture(12, (1, 3, 4))
    assert torch.equal(twin.eval()(visual).rows, compressor(visual).rows)


@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_start_values_are_seeded(spec: dict[str, Any]) -> None:
    compressor = make(spec)
    states = []
    for seed in (1, 1, 2):
        compressor.reset_parameters(torch.Generator().manual_seed(seed))
        weights = [weight.detach().flatten() for weight in compressor.parameters()]
        states.append(torch.cat([torch.zeros(0), *weights]))
    assert torch.equal(states[0], states[1])
    assert torch.isfinite(states[0]).all()
    assert spec["kind"] in ("pool", "text-only") or not torch.equal(states[0], states[2])


def test_none_reads_every_token() -> None:
    assert build_compressor({"kind": "none"}, hidden=HIDDEN, row=HIDDEN) is None


def test_elastic_has_the_five_branches_of_the_paper() -> None:
    compressor = build_compressor({"kind": "elastic"}, hidden=HIDDEN, row=HIDDEN)
    assert compressor is not None
    kinds = [part["kind"] for part in compressor.spec()["branches"]]
    assert kinds == ["prune", "pool", "conv", "resample", "text-only"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "squeeze"}, "choose from none, prune, pool"),
        ({}, "unknown kind of compressor None"),
        ({"kind": "pool", "size": 2}, "has no size: it takes ratio, positions"),
        ({"kind": "prune", "hidden": 8}, "has no hidden"),
        ({"kind": "none", "ratio": 2}, "no options"),
        ({"kind": "prune", "ratio": 0}, "ratio=0"),
        ({"kind": "elastic", "branches": [{"kind": "elastic"}]}, "Elastic"),
    ],
)
def test_bad_descriptions(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_compressor(spec, hidden=HIDDEN, row=HIDDEN)


def test_every_kind_is_tried_here() -> None:
    assert {spec["kind"] for spec in SPECS} == set(KINDS) - {"none"}
