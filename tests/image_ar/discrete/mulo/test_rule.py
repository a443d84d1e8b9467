"""The threshold rule: what stays, what is drawn anew, and when it is plain decoding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from image_ar.discrete.grid import Grid
from image_ar.discrete.mulo.rule import MultiScaleRule
from mmspec.distributions import Categorical, OneHot
from mmspec.messages import Draft, Evidence
from mmspec.noise import Noise
from mmspec.trees import Tree
from tests.core.image_target import CODES
from tests.image_ar.discrete.mulo.toy import LINED, SCALES, Guess, cells_of, generate
from tests.image_ar.discrete.oracle import neighbours, random_law

GRID = Grid(4, 4)
GREEDY: dict[str, Any] = {}
SAMPLED = {"temperature": 1.0, "top_k": 6}


@pytest.mark.parametrize("options", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("grid", [SCALES.high, LINED.high], ids=["plain", "lines"])
@pytest.mark.parametrize("order", [{}, {"order": "zipar", "window": 4}], ids=["raster", "zipar"])
def test_refusing_everything_is_plain_decoding(
    grid: Grid, options: dict[str, Any], order: dict[str, Any]
) -> None:
    plain, _ = generate(grid, None, None, **options)
    rule = MultiScaleRule(grid, tau=1.1, **order)
    ours, trace = generate(grid, Guess(grid), rule, **options)
    assert ours == plain
    assert trace.metrics.bias == 0
    assert {unit.origin for row in trace.units for unit in row[1:]} >= {"regenerated"}


def test_a_plan_without_slack_is_plain_decoding() -> None:
    class Exactly(MultiScaleRule):
        def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Any:
            return super().judge(replace(draft, slack=0.0), evidence, noise)

    plain, _ = generate(SCALES.high, None, None, **SAMPLED)
    ours, _ = generate(SCALES.high, Guess(SCALES.high), Exactly(SCALES.high, tau=0.0), **SAMPLED)
    assert ours == plain


def test_keeping_everything_costs_a_pass_a_block() -> None:
    grid = SCALES.high
    ours, trace = generate(grid, Guess(grid), MultiScaleRule(grid, tau=0.0), **SAMPLED)
    for row in ours:
        inside = [place for place in range(1, grid.cells) if place % 8 != 7]
        assert [row[place] for place in inside] == [5 * place % CODES for place in inside]
    assert trace.metrics.target_forwards == 1 + 3
    assert trace.metrics.bias > 0.5


def test_staggered_rows_take_fewer_passes() -> None:
    grid = SCALES.high
    passes = [
        generate(grid, Guess(grid), MultiScaleRule(grid, tau=1.1, **order), **SAMPLED)[1]
        for order in ({}, {"order": "zipar", "window": 1})
    ]
    serial, staggered = (trace.metrics.target_forwards for trace in passes)
    # The first block lacks the cell of the prefill: raster needs 7 + 8 + 8 passes, staggered rows
    # 4 or 5 a block.
    assert serial == 1 + 7 + 8 + 8
    assert staggered == 1 + 4 + 5 + 5


def block(p: torch.Tensor, units: list[int], start: int, **rest: Any) -> tuple[Draft, Evidence]:
    draft = Draft.chain(torch.tensor([units]), **rest)
    return draft, Evidence(Categorical(p), start + draft.tree.depths)


def flat_law(units: list[int], low: dict[int, float], vocab: int = 6) -> torch.Tensor:
    """Laws with 0.9 on each unit, or what ``low`` says, and the rest spread evenly."""
    masses = torch.tensor([low.get(place, 0.9) for place in range(len(units))] + [0.9])
    law = ((1 - masses) / (vocab - 1)).unsqueeze(1).expand(-1, vocab).clone()
    return law.scatter(1, torch.tensor([*units, 0]).unsqueeze(1), masses.unsqueeze(1)).unsqueeze(0)


def test_waves_stand_at_the_right_units() -> None:
    units = [1, 2, 3, 4, 5, 0, 1]  # row 1 of the grid and three cells of row 2
    p = flat_law(units, {1: 0.02})
    draft, evidence = block(p, units, start=4)
    rule = MultiScaleRule(GRID, tau=0.05)
    verdict = rule.judge(draft, evidence, Noise([3], horizon=16))
    assert verdict.again is not None
    # (1, 1) is refused; (1, 2), (2, 0), (2, 1) and (2, 2) join, (1, 0) stands before it.
    assert verdict.again.waves.tolist() == [[-1, 0, 1, -1, 2, 3, 4, -1]]
    assert verdict.accepted.tolist() == [7]
    assert verdict.bias is not None
    assert verdict.bias.tolist() == [pytest.approx([0.1, 0, 0, 0.1, 0, 0, 0], abs=1e-6)]
    tape = Noise([3], horizon=16).at("target", torch.arange(4, 12).unsqueeze(0))
    assert torch.equal(verdict.again.uniforms, tape)
    corner, evidence = block(flat_law(units, {6: 0.02}), units, start=4)
    verdict = rule.judge(corner, evidence, Noise([3], horizon=16))
    assert verdict.again is not None
    # The target's own cell (2, 3) is reached, and drawn given the new (2, 2).
    assert verdict.again.waves.tolist() == [[-1] * 6 + [0, 1]]


def test_islands_have_waves_of_their_own() -> None:
    grid = Grid(2, 8)
    units = [1] * 15
    draft, evidence = block(flat_law(units, {0: 0.01, 5: 0.01}), units, start=0)
    verdict = MultiScaleRule(grid, tau=0.05).judge(draft, evidence, Noise([0], horizon=16))
    assert verdict.again is not None
    top, bottom = [0, 1, -1, -1, 0, 1, 2, -1], [2, 3, -1, -1, 3, 4, 5, -1]
    assert verdict.again.waves.tolist() == [top + bottom]


def test_pooling_spares_units_with_likely_neighbours() -> None:
    p = random_law(1, 8, 6, seed=2)
    units = [3] * 7
    draft, evidence = block(p, units, start=8)
    noise = Noise([0], horizon=16)
    counts = [
        int((rule.judge(draft, evidence, noise).again.waves >= 0).sum())  # type: ignore[union-attr]
        for rule in (MultiScaleRule(GRID, tau=0.3, k=k, neighbours=neighbours()) for k in (0, 2, 5))
    ]
    assert counts[0] > counts[1] > counts[2] == 0


def test_slack_raises_the_threshold() -> None:
    units = [1] * 7
    draft, evidence = block(flat_law(units, {}), units, start=8)
    noise, rule = Noise([0], horizon=16), MultiScaleRule(GRID, tau=0.1)
    for slack, refused in ((1.0, 0), (0.5, 0), (0.05, 8), (0.0, 8)):
        verdict = rule.judge(replace(draft, slack=slack), evidence, noise)
        assert verdict.again is not None
        assert int((verdict.again.waves >= 0).sum()) == refused


def test_complete_rows_of_a_batch_are_left_alone() -> None:
    units = [1] * 7
    p = flat_law(units, dict.fromkeys(range(7), 0.0)).expand(2, -1, -1)
    draft = Draft.chain(torch.tensor([units, units]))
    positions = torch.tensor([[8], [16]]) + draft.tree.depths
    verdict = MultiScaleRule(GRID).judge(
        draft, Evidence(Categorical(p), positions), Noise([0, 1], horizon=16)
    )
    assert verdict.again is not None
    assert verdict.again.waves[1].tolist() == [-1] * 8
    assert verdict.again.waves[0].tolist() == list(range(8))


def test_laws_that_are_not_finite_refuse() -> None:
    units = [1] * 7
    p = torch.full((1, 8, 6), float("nan"))
    draft, evidence = block(p, units, start=8)
    verdict = MultiScaleRule(GRID, tau=0.0).judge(draft, evidence, Noise([0], horizon=16))
    assert verdict.again is not None
    assert bool((verdict.again.waves >= 0).all())


def test_drafts_that_are_no_rows_are_refused() -> None:
    units = [1] * 7
    rule, noise = MultiScaleRule(GRID), Noise([0], horizon=16)
    for start in (7, 12, 14):
        draft, evidence = block(flat_law(units, {}), units, start)
        with pytest.raises(ValueError, match="one cell before the end of a row"):
            rule.judge(draft, evidence, noise)
    draft, evidence = block(flat_law(units, {}), units, 8, valid=torch.ones(1, 7).bool())
    with pytest.raises(ValueError, match="without padding"):
        rule.judge(draft, evidence, noise)
    tree = replace(draft, valid=None, tree=Tree.static([(n,) for n in range(7)], 1))
    with pytest.raises(TypeError, match="chains"):
        rule.judge(tree, evidence, noise)
    draft, evidence = block(flat_law(units, {}), units, 8)
    bare = replace(evidence, law=OneHot(torch.zeros(1, 8, dtype=torch.long)))
    with pytest.raises(TypeError, match="probabilities"):
        rule.judge(draft, bare, noise)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tau": -0.1}, "tau"),
        ({"tau": float("nan")}, "tau"),
        ({"radius": 0}, "radius"),
        ({"order": "spiral"}, "raster, zipar"),
        ({"window": 0}, "window"),
        ({"k": -1}, "k must be"),
        ({"k": 3}, "table"),
        ({"k": 6, "neighbours": neighbours()}, "got 5"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MultiScaleRule(GRID, **options)


def test_the_rule_says_that_it_is_lossy() -> None:
    certificate = MultiScaleRule(GRID).certificate
    assert not certificate.lossless
    assert "bound" in certificate.why


def test_cells_alone_are_compared_where_lines_have_ends() -> None:
    grid = LINED.high
    ours, trace = generate(grid, Guess(grid), MultiScaleRule(grid, tau=0.0), **SAMPLED)
    for row in ours:
        assert len(cells_of(grid, row)) == grid.cells
        assert all(row[place] == unit for place, unit in grid.forced_ids())
    assert trace.metrics.target_forwards == 1 + 3
