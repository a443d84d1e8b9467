"""Coupling of every denoising step: the output law, what is handed back, and the ratio of paths."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor

from image_ar.continuous.decoding import DENOISE
from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.handback import Continuation
from image_ar.continuous.laws import Paths
from image_ar.continuous.rules import StepwiseCoupling
from mmspec.messages import Draft, Evidence, Verdict
from tests.image_ar.continuous.toy import (
    DRAFT,
    MEAN,
    STD,
    TARGET,
    WIDER,
    FieldNoise,
    Linear,
    draws,
    noise_of,
    path_round,
    raster,
    set_records,
)

MANY = 40_000
RULE = StepwiseCoupling()


def continued(target: Linear, again: Continuation, normals: Tensor) -> Tensor:
    """Vectors ``(batch, group, width)``; ``normals`` ``(batch, group, steps + 1, width)``."""
    state = again.states
    for i in range(len(target.shifts)):
        after = target.step(i, state).draw(normals[..., i + 1, :])
        state = torch.where((again.first <= i).unsqueeze(-1), after, state)
    return state


def again_of(verdict: Verdict) -> Continuation:
    assert verdict.own is None
    assert isinstance(verdict.again, Continuation)
    return verdict.again


def paths_of(law: object) -> Paths:
    assert isinstance(law, Paths)
    return law


@pytest.mark.parametrize("drafter", [DRAFT, WIDER], ids=["equal spreads", "unequal spreads"])
def test_output_has_the_targets_law(drafter: Linear) -> None:
    normals = draws(1, 1, 1, MANY, 4, 1)
    draft, evidence = path_round(drafter, TARGET, (1, 1, MANY, 1), normals)
    again = again_of(RULE.judge(draft, evidence, noise_of(1, 2 * MANY)))
    out = continued(TARGET, again, normals[:, 0]).flatten()
    assert kstest(out.numpy(), norm(MEAN, STD).cdf).pvalue > 0.01
    kept = (again.first == 3).flatten() & (out == draft.units.flatten())
    if drafter is DRAFT:  # three reflections' worth of overlaps, independent of the states
        expected = math.prod(math.erfc(d / 2 / math.sqrt(2)) for d in (0.5, 0.6, 0.8))
        assert float(kept.double().mean()) == pytest.approx(expected, abs=0.01)
    # Going on from the drafted state instead of the corrected one is found out.
    states = torch.cat([paths_of(draft.law).states[:, 0], draft.units], 1)
    index = again.first.view(1, 1, MANY, 1)
    twin = replace(again, states=states.gather(1, index).squeeze(1))
    wrong = continued(TARGET, twin, normals[:, 0]).flatten()
    assert kstest(wrong.numpy(), norm(MEAN, STD).cdf).pvalue < 1e-9


@pytest.mark.parametrize(
    ("steps", "expected"), [(3, 0.5761501221), (10, 0.5270892569), (100, 0.0455002639)]
)
def test_score_is_the_log_ratio_of_whole_paths(steps: int, expected: float) -> None:
    """Accepting whole paths by it would keep ``2 Phi(-D / 2)`` of them."""
    if steps == 3:
        target, drafter = TARGET, DRAFT
    else:
        target = Linear((0.2,) * steps, (0.5,) * steps)
        drafter = replace(target, shifts=(0.0,) * steps)
    rows = 20_000
    draft, evidence = path_round(
        drafter, target, (rows, 1, 1, 1), draws(2, rows, 1, 1, steps + 1, 1)
    )
    score = RULE.judge(draft, evidence, FieldNoise(rows, 2)).score  # type: ignore[arg-type]
    assert score is not None
    assert float(score.exp().clamp(max=1).mean()) == pytest.approx(expected, abs=0.01)


def test_equal_models_accept_everything_and_begin_the_bonus() -> None:
    shape, noise = (4, 3, 2, 2), noise_of(4, 8)
    places = raster(4, 4, 2)
    normals = noise.normals(DENOISE, places, (4, 2)).double()
    draft, evidence = path_round(TARGET, TARGET, shape, normals[:, :3])
    verdict = RULE.judge(draft, evidence, noise)
    again = again_of(verdict)
    assert verdict.accepted.tolist() == [3] * 4
    assert not bool(verdict.corrected.any())
    assert bool((again.first == 0).all())
    assert torch.equal(again.states, normals[:, 3, :, 0])
    assert verdict.score is not None
    assert float(verdict.score.abs().max()) == 0.0


def test_refused_units_go_on_and_the_rest_of_their_group_is_finished() -> None:
    batch, group = 300, 2
    close = replace(TARGET, shifts=(0.4, 0.35, 0.18))
    normals = draws(3, batch, 3, group, 4, 1)
    draft, evidence = path_round(close, TARGET, (batch, 3, group, 1), normals)
    verdict = RULE.judge(draft, evidence, noise_of(batch, 8))
    again, law = again_of(verdict), paths_of(draft.law)
    seen = set()
    for row in torch.nonzero(verdict.corrected).flatten().tolist():
        node = int(verdict.accepted[row])
        after = torch.cat([law.states[row, node, 1:], draft.units[row, node].unsqueeze(0)])
        first = again.first[row].tolist()
        moved = []
        for cell, step in enumerate(first):
            assert 1 <= step <= 3
            same = torch.equal(again.states[row, cell], after[step - 1, cell])
            moved.append(not same)
            assert not same or step == 3
        assert any(moved)
        seen.add((node, *sorted(zip(first, moved, strict=True))))
    assert {key[0] for key in seen} == {0, 1, 2}
    assert any(not m for key in seen for _, m in key[1:])
    assert len(seen) > 10


def test_steps_that_cannot_be_judged_are_the_targets_own() -> None:
    """It goes on from the state before, with the noise the draft had."""
    noise = noise_of(1, 3)
    normals = noise.normals(DENOISE, raster(1, 2, 1), (4, 2)).double()
    draft, evidence = path_round(TARGET, TARGET, (1, 1, 1, 2), normals[:, :1])
    law = paths_of(draft.law)
    mean = law.kernels.mean.clone()
    mean[:, :, 1, :, 0] = torch.nan
    draft, evidence = set_records(
        draft, evidence, kernels=(GaussianStep(mean, law.kernels.log_std), None)
    )
    verdict = RULE.judge(draft, evidence, noise)
    again = again_of(verdict)
    assert again.first.tolist() == [[1]]
    assert torch.equal(again.states, law.states[:, 0, 1])
    assert torch.equal(continued(TARGET, again, normals[:, 0]), draft.units[:, 0])
    assert verdict.score is not None
    assert verdict.score.isnan().tolist() == [[True]]


def test_padding_is_finished_and_decides_nothing() -> None:
    draft, evidence = path_round(TARGET, TARGET, (2, 2, 3, 1), draws(4, 2, 2, 3, 4, 1))
    places = raster(2, 3, 3).clone()
    places[:, :, 2] = -1
    draft, evidence = set_records(draft, evidence, places=(places[:, :2], places))
    units = draft.units.clone()
    units[:, :, 2] = math.nan
    draft = replace(draft, units=units)
    valid = torch.tensor([[True, True], [True, False]])
    for one, count in ((draft, [2, 2]), (replace(draft, valid=valid), [2, 1])):
        verdict = RULE.judge(one, evidence, noise_of(2, 9))
        again = again_of(verdict)
        assert verdict.accepted.tolist() == count
        assert again.first.tolist() == [[0, 0, 3], [0, 0, 3]]
        assert bool(again.states.isfinite().all())
        assert not bool(verdict.corrected.any())


def test_evidence_needs_the_place_of_the_bonus() -> None:
    draft, evidence = path_round(TARGET, TARGET, (1, 2, 1, 1), draws(5, 1, 2, 1, 4, 1))
    law = replace(paths_of(evidence.law), places=raster(1, 2, 1))
    with pytest.raises(ValueError, match="3 of the target"):
        RULE.judge(draft, Evidence(law, evidence.positions), noise_of(1, 3))
    with pytest.raises(TypeError, match="Endpoints, got Paths"):
        RULE.judge(Draft.empty(1), evidence, noise_of(1, 3))
