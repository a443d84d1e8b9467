"""Rules that compare where chains ended: groups, padding, scores, certificates and faults."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from image_ar.continuous.cspd import Published, Released
from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.laws import Endpoints
from image_ar.continuous.rules import (
    LastStepCoupling,
    Own,
    SmoothedCoupling,
    StepwiseCoupling,
    Tolerance,
)
from mmspec.distributions import Categorical
from mmspec.messages import Draft, Evidence
from mmspec.trees import Tree
from tests.image_ar.continuous.toy import (
    DRAFT,
    TARGET,
    WIDER,
    draws,
    endpoint_round,
    noise_of,
    own_of,
    raster,
    set_records,
    target_of,
)

COUPLINGS: dict[str, Any] = {
    "last step": LastStepCoupling(),
    "smoothed": SmoothedCoupling(0.3),
    "tolerance": Tolerance(0.7),
}


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
