"""Continuous speculative decoding as published and as released: numbers, replacement, failure."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor

from image_ar.continuous.cspd import Published, Released, softened_ratio
from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.handback import Replacement
from image_ar.continuous.judging import Pair
from image_ar.continuous.laws import Endpoints
from image_ar.continuous.rules import LastStepCoupling
from mmspec.messages import Draft, Evidence, Verdict
from tests.image_ar.continuous.toy import (
    DRAFT,
    TARGET,
    WIDER,
    draws,
    endpoint_round,
    noise_of,
    raster,
    set_records,
)

SIGMA = 0.0063


def window(
    gap: float,
    count: int,
    width: int = 16,
    trail: float = 0.0,
    stds: tuple[float, float] = (SIGMA, SIGMA),
    batch: int = 1,
    nodes: int = 1,
) -> tuple[Draft, Evidence]:
    """Noiseless vectors ``gap`` apart in every dimension; ``trail`` of the draft, 0 of the target.

    ``stds`` are the last steps' of draft and target. The evidence has no row beyond the draft's.
    """
    places = raster(batch, nodes, count)
    own = draws(5, batch, nodes, count, width)
    units = own + gap
    q_std, p_std = (torch.full_like(own, math.log(std)) for std in stds)
    zeros = torch.zeros(places.shape, dtype=torch.float64)
    draft = Endpoints(GaussianStep(units, q_std), zeros + trail, units, places)
    target = Endpoints(GaussianStep(own, p_std), zeros, own, places)
    return Draft.chain(units, draft), Evidence(target, places[..., 0])


def replacement(verdict: Verdict) -> Replacement:
    assert verdict.own is None
    assert isinstance(verdict.again, Replacement)
    return verdict.again


def own_of(evidence: Evidence) -> Tensor:
    assert isinstance(evidence.law, Endpoints)
    return evidence.law.units


@pytest.mark.parametrize(
    ("gap", "expected"),
    [(0.0, 1.0), (0.01, 0.98864), (0.05, 0.75152), (0.1, 0.31898), (0.2, 0.01035), (0.3, 3.4e-5)],
)
def test_released_test_is_a_soft_distance(gap: float, expected: float) -> None:
    draft, evidence = window(gap, 20_000)
    ratio = softened_ratio(Pair.of(draft, evidence, "test", beyond=0)).exp()
    assert float(ratio.min()) == pytest.approx(expected, rel=0.02, abs=1e-5)
    assert float(ratio.max()) == pytest.approx(float(ratio.min()))
    again = replacement(Released().judge(draft, evidence, noise_of(1, 20_000)))
    assert float((~again.replaced).double().mean()) == pytest.approx(expected, abs=0.01)


def test_released_factor_is_the_inverse_of_the_published_one() -> None:
    draft, evidence = endpoint_round(WIDER, TARGET, (1, 1, 1, 1), seed=1)
    pair = Pair.of(draft, evidence, "test")
    assert float(pair.log_factor.exp()) == pytest.approx(1.44)  # Sigma
    narrow, seen = window(0.0, 1, trail=math.log(1.44), stds=(2 * SIGMA, SIGMA), width=1)
    ratio = float(softened_ratio(Pair.of(narrow, seen, "test", beyond=0)).exp())
    assert ratio == pytest.approx(2 / 1.44)


def test_released_replaces_in_place_and_drops_nothing() -> None:
    draft, evidence = window(0.1, 50, batch=3, nodes=4)
    verdict = Released().judge(draft, evidence, noise_of(3, 200))
    again = replacement(verdict)
    assert verdict.accepted.tolist() == [4, 4, 4]
    assert verdict.path.tolist() == [[0, 1, 2, 3]] * 3
    assert not bool(verdict.corrected.any())
    assert again.replaced.any(2).all()
    assert torch.equal(again.units[~again.replaced], draft.units[~again.replaced])
    away = (again.units - own_of(evidence))[again.replaced]
    assert float(away.abs().max()) < 6 * SIGMA
    # Far from the draft the filter takes everything: the target's mean and the last step's noise.
    assert kstest(away.flatten().numpy(), norm(0, SIGMA).cdf).pvalue > 0.01
    assert verdict.score is not None
    soft = softened_ratio(Pair.of(draft, evidence, "test", beyond=0)).sum(-1)
    assert torch.allclose(verdict.score, soft)


def test_released_filter_uses_unsoftened_densities() -> None:
    """Replacements of one-dimensional vectors follow ``(p - q / f)+`` with ``f = 1 / Sigma``."""
    gap, factor = SIGMA, 1.5
    draft, evidence = window(gap, 60_000, width=1, trail=math.log(factor))
    again = replacement(Released().judge(draft, evidence, noise_of(1, 60_000)))
    away = (again.units - own_of(evidence))[again.replaced] / SIGMA
    grid = np.linspace(-8, 8, 160_001)
    left = (norm.pdf(grid) - factor * norm.pdf(grid - 1)).clip(min=0).cumsum()

    def cdf(x: Any) -> Any:
        return np.interp(x, grid, left / left[-1])

    assert len(away) > 10_000
    assert kstest(away.numpy(), cdf).pvalue > 0.01
    assert kstest(away.numpy(), norm(0, 1).cdf).pvalue < 1e-9


@pytest.mark.parametrize("zeros", [False, True])
def test_failed_replacements_are_the_targets_own_or_zero(zeros: bool) -> None:
    """Equal ends and a small factor: nothing is left of ``p - q / f``."""
    draft, evidence = window(0.0, 400, width=2, trail=3.0)
    rule = Released(rounds=5, zeros_on_failure=zeros)
    again = replacement(rule.judge(draft, evidence, noise_of(1, 400)))
    assert 0.5 < float(again.replaced.double().mean()) < 1
    expected = torch.zeros_like(draft.units) if zeros else own_of(evidence)
    assert torch.equal(again.units[again.replaced], expected[again.replaced])


def test_released_leaves_padding_and_mends_what_is_not_finite() -> None:
    draft, evidence = window(0.5, 3, width=2, nodes=2)
    places = raster(1, 2, 3).clone()
    places[:, :, 2] = -1
    units = draft.units.clone()
    units[0, 0, 0] = math.nan
    draft, evidence = set_records(draft, evidence, places=(places, places))
    draft = replace(draft, units=units, valid=torch.tensor([[True, False]]))
    verdict = Released(zeros_on_failure=True).judge(draft, evidence, noise_of(1, 6))
    again = replacement(verdict)
    assert again.replaced.tolist() == [[[True, True, False], [False, False, False]]]
    assert torch.equal(again.units[0, 0, 0], own_of(evidence)[0, 0, 0])
    assert verdict.accepted.tolist() == [1]
    assert verdict.score is not None
    assert verdict.score.isnan().tolist() == [[True, True]]


def test_published_without_factor_is_the_exact_rule() -> None:
    """The two models' earlier spreads agree, so Sigma is 1."""
    draft, evidence = endpoint_round(DRAFT, TARGET, (200, 3, 1, 1), seed=6)
    ours = Published().judge(draft, evidence, noise_of(200, 4))
    exact = LastStepCoupling().judge(draft, evidence, noise_of(200, 4))
    assert torch.equal(ours.accepted, exact.accepted)
    assert ours.own is not None
    assert exact.own is not None
    assert torch.equal(ours.own, exact.own)


def test_published_stops_at_the_first_refusal_and_gives_up_after_its_rounds() -> None:
    """A tiny Sigma refuses nearly all and leaves nothing to draw from."""
    draft, evidence = endpoint_round(TARGET, TARGET, (50, 3, 1, 1), seed=7)
    law = draft.law
    assert isinstance(law, Endpoints)
    draft, evidence = set_records(draft, evidence, trail=(law.trail - 3.0, None))
    verdict = Published(rounds=4).judge(draft, evidence, noise_of(50, 4))
    assert float(verdict.corrected.double().mean()) > 0.9
    rows = torch.arange(50)
    assert verdict.own is not None
    assert torch.equal(verdict.own, own_of(evidence)[rows, verdict.accepted])


def test_window_rules_ask_for_window_conditions() -> None:
    assert Released().conditioning == "window"
    draft, evidence = window(0.1, 2, nodes=2)
    with pytest.raises(ValueError, match="3 of the target"):
        Published().judge(draft, evidence, noise_of(1, 4))
