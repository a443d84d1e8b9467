"""Rules that compare where chains ended: output laws, bounds, groups, padding and faults."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor

from image_ar.continuous.cspd import Published, Released
from image_ar.continuous.gaussian import GaussianStep, overlap
from image_ar.continuous.laws import Endpoints
from image_ar.continuous.rules import (
    LastStepCoupling,
    Own,
    SmoothedCoupling,
    StepwiseCoupling,
    Tolerance,
)
from mmspec.distributions import Categorical
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.trees import Tree
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
    raster,
    set_records,
)

MANY = 100_000
COUPLINGS: dict[str, Any] = {
    "last step": LastStepCoupling(),
    "smoothed": SmoothedCoupling(0.3),
    "tolerance": Tolerance(0.7),
}


def pvalue(sample: Tensor, mean: float = MEAN, std: float = STD) -> float:
    return float(kstest(sample.flatten().numpy(), norm(mean, std).cdf).pvalue)


def target_of(evidence: Evidence) -> Endpoints:
    assert isinstance(evidence.law, Endpoints)
    return evidence.law


def own_of(verdict: Verdict) -> Tensor:
    assert verdict.own is not None
    return verdict.own


# --- output laws ----------------------------------------------------------------------------------


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


# --- paths and groups -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", COUPLINGS)
def test_equal_models_accept_everything_and_add_the_bonus(name: str) -> None:
    draft, evidence = endpoint_round(TARGET, TARGET, (5, 3, 2, 4), seed=9)
    if name == "smoothed":
        draft, evidence = resmoothed(draft, evidence, 0.3)
    verdict = COUPLINGS[name].judge(draft, evidence, noise_of(5, 8))
    assert verdict.accepted.tolist() == [3] * 5
    assert verdict.path.tolist() == [[0, 1, 2]] * 5
    assert not bool(verdict.corrected.any())
    assert torch.equal(own_of(verdict), target_of(evidence).units[:, 3])
    assert verdict.score is not None
    assert float(verdict.score.abs().max()) == 0.0


def resmoothed(draft: Draft, evidence: Evidence, sigma: float) -> tuple[Draft, Evidence]:
    """Units as the last means plus shared noise of ``sigma``."""
    p, q = target_of(evidence), draft.law
    assert isinstance(q, Endpoints)
    z = draws(99, *p.units.shape)
    units = q.last.mean + sigma * z[:, : draft.nodes]
    draft, evidence = set_records(draft, evidence, units=(units, p.last.mean + sigma * z))
    return replace(draft, units=units), evidence


def per_vector(rule: Any, draft: Draft, evidence: Evidence, batch: int, places: int) -> Tensor:
    """Which vectors stand, judged one unit at a time, ``(batch, nodes, group)``."""
    found = []
    for node in range(draft.nodes):
        some = slice(node, node + 1)
        law, target = draft.law, target_of(evidence)
        assert isinstance(law, Endpoints)
        one = Draft.chain(draft.units[:, some], cut(law, some))
        seen = Evidence(cut(target, slice(node, node + 2)), evidence.positions)
        own = own_of(rule.judge(one, seen, noise_of(batch, places)))
        stood = (own == draft.units[:, node]).all(-1)
        whole = rule.judge(one, seen, noise_of(batch, places)).accepted.bool()
        found.append(stood | whole.unsqueeze(1))
    return torch.stack(found, 1)


def cut(law: Endpoints, rows: slice) -> Endpoints:
    last = GaussianStep(law.last.mean[:, rows], law.last.log_std[:, rows])
    return Endpoints(last, law.trail[:, rows], law.units[:, rows], law.places[:, rows])


@pytest.mark.parametrize("name", COUPLINGS)
def test_a_unit_stands_if_all_of_its_vectors_do(name: str) -> None:
    rule, batch = COUPLINGS[name], 60
    close = replace(TARGET, shifts=(0.5, 0.3, 0.1))
    draft, evidence = endpoint_round(close, TARGET, (batch, 4, 2, 1), seed=10)
    if name == "smoothed":
        draft, evidence = resmoothed(draft, evidence, 0.3)
    if name == "tolerance":
        rule = Tolerance(0.1000001)
        jitter = 0.1 * draws(11, *draft.units.shape)
        own = target_of(evidence).units[:, :-1] + jitter
        draft, evidence = set_records(draft, evidence, units=(own, None))
        draft = replace(draft, units=own)
    verdict = rule.judge(draft, evidence, noise_of(batch, 10))
    stands = per_vector(rule, draft, evidence, batch, 10)
    expected = stands.all(-1).long().cumprod(1).sum(1)
    assert torch.equal(verdict.accepted, expected)
    assert len(set(expected.tolist())) == 5
    assert torch.equal(verdict.corrected, expected < 4)
    for row in range(batch):
        count = int(expected[row])
        own = own_of(verdict)[row]
        if count == 4:
            assert torch.equal(own, target_of(evidence).units[row, 4])
            continue
        same = (own == draft.units[row, count]).all(-1)
        assert torch.equal(same, stands[row, count])


@pytest.mark.parametrize("name", COUPLINGS)
def test_padding_of_groups_and_drafts_decides_nothing(name: str) -> None:
    rule = COUPLINGS[name]
    draft, evidence = endpoint_round(TARGET, TARGET, (2, 2, 3, 1), seed=12)
    if name == "smoothed":
        draft, evidence = resmoothed(draft, evidence, 0.3)
    places = raster(2, 3, 3).clone()
    places[:, :, 2] = -1
    units = draft.units.clone()
    units[:, :, 2] = 1e9
    draft, evidence = set_records(draft, evidence, places=(places[:, :2], places))
    draft = replace(draft, units=units)
    verdict = rule.judge(draft, evidence, noise_of(2, 9))
    assert verdict.accepted.tolist() == [2, 2]
    assert verdict.score is not None
    assert float(verdict.score.abs().max()) == 0.0
    valid = torch.tensor([[True, False], [False, False]])
    short = rule.judge(replace(draft, valid=valid), evidence, noise_of(2, 9))
    assert short.accepted.tolist() == [1, 0]
    assert not bool(short.corrected.any())
    expected = torch.stack([target_of(evidence).units[0, 1], target_of(evidence).units[1, 0]])
    assert torch.equal(own_of(short), expected)
    assert short.score is not None
    assert torch.equal(short.score.isnan(), ~valid)


@pytest.mark.parametrize("name", COUPLINGS)
@pytest.mark.parametrize("broken", ["draft", "target's law", "infinite"])
def test_what_cannot_be_judged_becomes_the_targets_own(name: str, broken: str) -> None:
    draft, evidence = endpoint_round(TARGET, TARGET, (1, 2, 2, 2), seed=13)
    if name == "smoothed":
        draft, evidence = resmoothed(draft, evidence, 0.3)
    law, target = draft.law, target_of(evidence)
    assert isinstance(law, Endpoints)
    if broken == "target's law":
        mean, own = target.last.mean.clone(), target.units.clone()
        mean[0, 1, 0], own[0, 1, 0] = torch.nan, torch.nan
        draft, evidence = set_records(
            draft, evidence, last=(None, replace(target.last, mean=mean)), units=(None, own)
        )
    else:
        units, mean = draft.units.clone(), law.last.mean.clone()
        units[0, 1, 0] = mean[0, 1, 0] = math.nan if broken == "draft" else math.inf
        draft, evidence = set_records(draft, evidence, last=(replace(law.last, mean=mean), None))
        draft = replace(draft, units=units)
    verdict = COUPLINGS[name].judge(draft, evidence, noise_of(1, 6))
    assert verdict.accepted.tolist() == [1]
    assert verdict.corrected.tolist() == [True]
    assert torch.equal(own_of(verdict)[:, 1], draft.units[:, 1, 1])
    wanted = target_of(evidence).units[:, 1, 0]
    assert torch.equal(own_of(verdict)[:, 0].nan_to_num(7.0), wanted.nan_to_num(7.0))
    assert verdict.score is not None
    assert verdict.score.isnan().tolist() == [[False, True]]


def test_a_vectors_fate_follows_from_seed_and_place() -> None:
    """Neither the batch nor the rest of the draft matters."""
    rule = LastStepCoupling()
    draft, evidence = endpoint_round(WIDER, TARGET, (6, 2, 2, 1), seed=14)
    whole = rule.judge(draft, evidence, noise_of(6, 6))
    law, target = draft.law, target_of(evidence)
    assert isinstance(law, Endpoints)
    for row in range(6):
        pick = slice(row, row + 1)
        p, q = (
            Endpoints(e.last[pick], e.trail[pick], e.units[pick], e.places[pick])
            for e in (target, law)
        )
        one = Draft.chain(draft.units[pick], q)
        noise = noise_of(6, 6)
        noise.seeds = noise.seeds[pick]
        alone = rule.judge(one, Evidence(p, evidence.positions[pick]), noise)
        assert torch.equal(own_of(alone), own_of(whole)[pick])


# --- scores, plain decoding, faults ---------------------------------------------------------------


def test_scores_are_sums_of_log_ratios_and_largest_distances() -> None:
    draft, evidence = endpoint_round(WIDER, TARGET, (2, 2, 3, 2), seed=15)
    law, target = draft.law, target_of(evidence)
    assert isinstance(law, Endpoints)
    p = GaussianStep(target.last.mean[:, :2], target.last.log_std[:, :2])
    ratio = (p.log_density(draft.units) - law.last.log_density(draft.units)).sum(-1)
    found = LastStepCoupling().judge(draft, evidence, noise_of(2, 9)).score
    assert found is not None
    assert torch.allclose(found, ratio)
    published = Published().judge(draft, evidence, noise_of(2, 9)).score
    assert published is not None
    assert torch.allclose(published, ratio + 3 * 2 * math.log(1.44))
    distance = (draft.units - target.units[:, :2]).norm(dim=-1).amax(-1)
    far = Tolerance(0.1).judge(draft, evidence, noise_of(2, 9)).score
    assert far is not None
    assert torch.allclose(far, distance)


EVERY: list[Any] = [*COUPLINGS.values(), Published(), Released(), StepwiseCoupling()]


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: type(rule).__name__)
def test_empty_drafts_take_the_targets_own(rule: Any) -> None:
    _, evidence = endpoint_round(DRAFT, TARGET, (3, 0, 2, 4), seed=16)
    for one in (rule, rule.plain()):
        verdict = one.judge(Draft.empty(3), evidence, noise_of(3, 2))
        assert torch.equal(own_of(verdict), target_of(evidence).units[:, 0])
        assert verdict.accepted.tolist() == [0, 0, 0]
        assert verdict.path.shape == (3, 0)
        assert verdict.again is None
    assert rule.plain() == Own(rule.final_noise)
    wrong = replace(evidence, law=Categorical(torch.ones(3, 1, 2)))
    with pytest.raises(TypeError, match="Endpoints, got Categorical"):
        rule.judge(Draft.empty(3), wrong, noise_of(3, 2))


def test_certificates_and_declared_noise() -> None:
    found = {type(rule).__name__: (rule.certificate.kind, rule.final_noise) for rule in EVERY}
    assert found == {
        "LastStepCoupling": ("exact", "learned"),
        "SmoothedCoupling": ("bounded", 0.3),
        "Tolerance": ("bounded", "none"),
        "Published": ("lossy", "learned"),
        "Released": ("lossy", "none"),
        "StepwiseCoupling": ("exact", "learned"),
    }
    assert {rule.reads for rule in EVERY[:-1]} == {"endpoints"}
    assert EVERY[-1].reads == "paths"
    assert {rule.conditioning for rule in EVERY if not isinstance(rule, Released)} == {"prefix"}
    assert "0.3 * sqrt(width)" in SmoothedCoupling(0.3).certificate.why
    assert "within 0.7" in Tolerance(0.7).certificate.why


def test_plain_decoding_refuses_drafts() -> None:
    draft, evidence = endpoint_round(DRAFT, TARGET, (1, 1, 1, 1), seed=17)
    with pytest.raises(TypeError, match="judges no drafts"):
        Own().judge(draft, evidence, noise_of(1, 2))


def test_faults_of_use_are_named() -> None:
    draft, evidence = endpoint_round(DRAFT, TARGET, (1, 2, 1, 1), seed=18)
    rule, noise = LastStepCoupling(), noise_of(1, 3)
    for size in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="sigma_v"):
            SmoothedCoupling(size)
    for size in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="delta"):
            Tolerance(size)
    with pytest.raises(TypeError, match="LastStepCoupling reads Endpoints"):
        rule.judge(replace(draft, law=Draft.empty(1).law), evidence, noise)
    with pytest.raises(TypeError, match="StepwiseCoupling reads Paths"):
        StepwiseCoupling().judge(draft, evidence, noise)
    twins = replace(draft, tree=Tree(torch.tensor([[-1, -1]]), 1))
    with pytest.raises(TypeError, match="no branches"):
        rule.judge(twins, evidence, noise)
    short, _ = set_records(draft, evidence, places=(raster(1, 1, 1), None))
    with pytest.raises(ValueError, match="2 drafted units of 1 vectors"):
        rule.judge(short, evidence, noise)
    law = target_of(evidence)
    for call in (law.draw, lambda: law.probability(torch.zeros(1, 1), torch.zeros(1, 1))):
        with pytest.raises(TypeError):
            call()
    assert law.is_one_hot is False
