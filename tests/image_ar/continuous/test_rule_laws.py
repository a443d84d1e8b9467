"""Output laws of the rules that compare where chains ended, with biased twins that fail."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor

from image_ar.continuous.cspd import Published
from image_ar.continuous.gaussian import GaussianStep, overlap
from image_ar.continuous.laws import Endpoints
from image_ar.continuous.rules import (
    LastStepCoupling,
    SmoothedCoupling,
    Tolerance,
)
from mmspec.messages import Draft, Evidence
from tests.image_ar.continuous.toy import (
    DRAFT,
    MEAN,
    STD,
    TARGET,
    WIDER,
    draws,
    endpoint_round,
    noise_of,
    one_group,
    own_of,
    raster,
    target_of,
)

MANY = 100_000


def pvalue(sample: Tensor, mean: float = MEAN, std: float = STD) -> float:
    return float(kstest(sample.flatten().numpy(), norm(mean, std).cdf).pvalue)


def test_last_step_coupling_is_exact_with_equal_spreads() -> None:
    out, kept = one_group(LastStepCoupling(), DRAFT, TARGET, MANY, seed=1)
    assert float(kept.double().mean()) == pytest.approx(0.1285109756, abs=0.004)
    assert float(out.mean()) == pytest.approx(MEAN, abs=0.01)
    assert pvalue(out) > 0.01


def test_last_step_coupling_is_exact_with_unequal_spreads() -> None:
    out, kept = one_group(LastStepCoupling(), WIDER, TARGET, MANY, seed=2)
    assert float(kept.double().mean()) == pytest.approx(0.1461, abs=0.004)
    assert pvalue(out) > 0.01


@pytest.mark.parametrize(
    ("swap", "rate", "mean", "refuted"),
    [(False, 0.174, 0.7361, 1e-6), (True, 0.1207, 0.7807, 1e-4)],
    ids=["Sigma", "1/Sigma"],
)
def test_factors_of_earlier_spreads_are_found_biased(
    swap: bool, rate: float, mean: float, refuted: float
) -> None:
    """The published factor, and its inverse by exchanged trails, on the pair above."""
    out, kept = one_group(Published(), WIDER, TARGET, MANY, seed=2, swap=swap)
    assert float(kept.double().mean()) == pytest.approx(rate, abs=0.004)
    assert float(out.mean()) == pytest.approx(mean, abs=0.006)
    assert pvalue(out) < refuted


def test_last_step_coupling_in_several_dimensions() -> None:
    out, kept = one_group(LastStepCoupling(), WIDER, TARGET, 40_000, seed=3, width=3)
    assert 0.005 < float(kept.double().mean()) < 0.1
    for dim in range(3):
        assert pvalue(out[:, dim]) > 0.01
    assert pvalue(out.sum(1), 3 * MEAN, math.sqrt(3) * STD) > 0.01
    assert float((torch.corrcoef(out.T) - torch.eye(3)).abs().max()) < 0.02


def smoothed_pair(sigma: float, count: int, width: int, seed: int) -> tuple[Draft, Evidence]:
    """Target's means ``N(1, 1/4)``, the draft's a little beside; both ends with noise ``sigma``."""
    p_mean = 1 + 0.5 * draws(seed, 1, 2, count, width)
    q_mean = p_mean[:, :1] + 0.1295 * draws(seed + 1, 1, 1, count, width)
    z = draws(seed + 2, 1, 2, count, width)
    places, spread = raster(1, 2, count), torch.full_like(p_mean, math.log(0.0063))
    zeros = torch.zeros(places.shape)
    p = Endpoints(GaussianStep(p_mean, spread), zeros, p_mean + sigma * z, places)
    units = q_mean + sigma * z[:, :1]
    q = Endpoints(GaussianStep(q_mean, spread[:, :1]), zeros[:, :1], units, places[:, :1])
    return Draft.chain(units, q), Evidence(p, places[..., 0])


def test_smoothed_coupling_is_exact_for_the_smoothed_target() -> None:
    sigma, width = 0.2, 4
    draft, evidence = smoothed_pair(sigma, MANY, width, seed=20)
    verdict = SmoothedCoupling(sigma).judge(draft, evidence, noise_of(1, 2 * MANY))
    out = own_of(verdict)[0]
    kept = (out == draft.units[0, 0]).all(-1)
    p, q = target_of(evidence).last.mean[0, 0], draft.law.last.mean[0, 0]  # type: ignore[attr-defined]
    spread = torch.full_like(p, math.log(sigma))
    closed = overlap(GaussianStep(p, spread), GaussianStep(q, spread))
    assert float(closed.mean()) == pytest.approx(0.551, abs=0.004)
    assert float(kept.double().mean()) == pytest.approx(float(closed.mean()), abs=0.004)
    for dim in range(width):
        assert pvalue(out[:, dim], 1, math.sqrt(0.25 + 0.04)) > 0.01
    assert float((torch.corrcoef(out.T) - torch.eye(width)).abs().max()) < 0.01
    offset = out - p  # noise given the target's mean: independent of it, the declared one
    assert pvalue(offset, 0, sigma) > 0.01
    assert float((offset * (p - 1)).mean()) == pytest.approx(0, abs=0.002)
    assert float(offset.square().sum(1).mean().sqrt()) <= sigma * math.sqrt(width) * 1.01


@pytest.mark.parametrize("kind", [SmoothedCoupling, Tolerance])
def test_more_is_kept_the_wider_the_rule_and_the_closer_the_models(kind: Any) -> None:
    def rate(size: float, factor: float) -> float:
        draft, evidence = smoothed_pair(0.0, 4000, 2, seed=5)
        p, q = target_of(evidence), draft.law
        assert isinstance(q, Endpoints)
        mean = p.last.mean[:, :1] + factor * (q.last.mean - p.last.mean[:, :1])
        q = replace(q, last=replace(q.last, mean=mean), units=mean)
        verdict = kind(size).judge(replace(draft, units=mean, law=q), evidence, noise_of(1, 8000))
        return float((own_of(verdict) == mean[:, 0]).all(-1).double().mean())

    by_size = [rate(size, 1.0) for size in (0.02, 0.1, 0.3)]
    by_gap = [rate(0.1, factor) for factor in (3.0, 1.0, 0.3)]
    assert by_size == sorted(by_size)
    assert by_gap == sorted(by_gap)
    assert len({*by_size, *by_gap}) == 5


def test_tolerance_stays_within_delta_of_the_targets_own() -> None:
    draft, evidence = endpoint_round(WIDER, TARGET, (3, 1, 5000, 2), seed=6)
    own = target_of(evidence).units[:, 0]
    for delta in (0.8, 1.2):
        out = own_of(Tolerance(delta).judge(draft, evidence, noise_of(3, 10_000)))
        away = (out - own).norm(dim=-1)
        assert float(away.max()) <= delta
        assert float(away.max()) > 0.9 * delta
        near = (draft.units[:, 0] - own).norm(dim=-1) <= delta
        assert torch.equal((out == draft.units[:, 0]).all(-1), near)


def test_tolerance_of_nothing_is_the_target_bit_for_bit() -> None:
    draft, evidence = endpoint_round(WIDER, TARGET, (4, 3, 2, 2), seed=7)
    verdict = Tolerance(0).judge(draft, evidence, noise_of(4, 8))
    assert verdict.accepted.tolist() == [0] * 4
    assert torch.equal(own_of(verdict), target_of(evidence).units[:, 0])
    assert Tolerance(0).certificate.lossless


def test_slack_scales_the_tolerance() -> None:
    draft, evidence = endpoint_round(DRAFT, TARGET, (1, 1, 2000, 2), seed=8)
    full = Tolerance(0.5).judge(draft, evidence, noise_of(1, 4000))
    half = Tolerance(1.0).judge(replace(draft, slack=0.5), evidence, noise_of(1, 4000))
    none = Tolerance(1e9).judge(replace(draft, slack=0.0), evidence, noise_of(1, 4000))
    assert torch.equal(own_of(full), own_of(half))
    assert torch.equal(own_of(none), target_of(evidence).units[:, 0])
