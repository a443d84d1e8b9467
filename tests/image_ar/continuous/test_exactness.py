"""Two vectors, the second's mean following the first: drafted pairs have the target's joint law."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor

from image_ar.continuous.chain import (
    Chain,
    Condition,
    FinalNoise,
    denoise,
    finish,
    kernels_along,
    settle,
)
from image_ar.continuous.cspd import Published
from image_ar.continuous.decoding import DENOISE
from image_ar.continuous.gaussian import GaussianStep
from image_ar.continuous.handback import Continuation
from image_ar.continuous.laws import Endpoints, Paths
from image_ar.continuous.process import DiffusionProcess
from image_ar.continuous.rules import (
    LastStepCoupling,
    SmoothedCoupling,
    StepwiseCoupling,
    Tolerance,
)
from mmspec.messages import Draft, Evidence
from tests.image_ar.continuous.analytic import AnalyticHead, response
from tests.image_ar.continuous.toy import FieldNoise

ROWS = 60_000
PROCESS = DiffusionProcess(4, 10)  # a last step of 0.15, so that it is accepted now and then
SLOPE = torch.tensor([[0.6]], dtype=torch.float64)
TARGET = AnalyticHead(1, 0.5, 0.8, SLOPE, share=0.2, base_steps=10)
DRAFTER = AnalyticHead(1, 0.4, 0.75, 0.8 * SLOPE, share=0.9, base_steps=10)


@dataclass(frozen=True)
class Model:
    """Draws vectors of one number given the one before."""

    head: AnalyticHead
    final_noise: FinalNoise
    noise: FieldNoise

    def normals(self, place: int) -> Tensor:
        places = torch.full((ROWS, 1), place)
        return self.noise.normals(DENOISE, places, (PROCESS.steps + 1, 1))[:, 0]

    def chain(self, before: Tensor, place: int) -> tuple[Chain, Tensor]:
        """The chain of ``place`` after vectors ``(rows, 1)``, and where it ends."""
        normals = self.normals(place)
        chain = denoise(self.head, PROCESS, Condition(before), normals, record=True)
        return chain, settle(chain.last, self.final_noise, normals[:, -1])

    def endpoints(self, before: list[Tensor], start: int) -> Endpoints:
        """Records of the vectors that follow each of ``before``."""
        made = [self.chain(vector, start + i) for i, vector in enumerate(before)]
        mean = torch.stack([chain.last.mean for chain, _ in made], 1).unsqueeze(2)
        log_std = torch.stack([chain.last.log_std for chain, _ in made], 1).unsqueeze(2)
        trail = torch.stack([chain.trail for chain, _ in made], 1).unsqueeze(2)
        units = torch.stack([end for _, end in made], 1).unsqueeze(2)
        return Endpoints(GaussianStep(mean, log_std), trail, units, places(start, len(made)))


def places(start: int, count: int) -> Tensor:
    return torch.arange(start, start + count).view(1, -1, 1).expand(ROWS, -1, -1)


def round_of(
    rule: Any, drafter: Model, target: Model, before: Tensor, start: int
) -> tuple[Any, Draft]:
    """Draft what is left of the pair after ``before``, have it judged; verdict and draft."""
    drafted, chains, last = [], [], before
    for place in range(start, 2):
        chain, last = drafter.chain(last, place)
        drafted.append(last)
        chains.append(chain)
    units = torch.stack(drafted, 1).unsqueeze(2)
    seen = [before, *drafted]
    if rule.reads == "endpoints":
        law: Any = drafter.endpoints(seen[:-1], start)
        evidence: Any = target.endpoints(seen, start)
    else:
        states = torch.stack([chain.states for chain in chains if chain.states is not None], 1)
        own = [chain.kernels for chain in chains if chain.kernels is not None]
        along = [
            kernels_along(target.head, PROCESS, Condition(given), states[:, i])
            for i, given in enumerate(seen[:-1])
        ]
        law = Paths(states.unsqueeze(3), stacked(own), places(start, len(own)))
        evidence = Paths(states.unsqueeze(3), stacked(along), places(start, len(own) + 1))
    draft = Draft.chain(units, law)
    return rule.judge(draft, Evidence(evidence, places(start, 1)[..., 0]), target.noise), draft


def stacked(steps: list[GaussianStep]) -> GaussianStep:
    mean = torch.stack([step.mean for step in steps], 1).unsqueeze(3)
    return GaussianStep(mean, torch.stack([step.log_std for step in steps], 1).unsqueeze(3))


def following(verdict: Any, target: Model, before: Tensor, place: int) -> Tensor:
    """The unit that the verdict adds at ``place``; rows whose path ended elsewhere are unused."""
    if not isinstance(verdict.again, Continuation):
        return verdict.own[:, 0]
    again, normals = verdict.again, target.normals(place)
    chain = finish(
        target.head, PROCESS, Condition(before), again.states[:, 0], again.first[:, 0], normals
    )
    return settle(chain.last, target.final_noise, normals[:, -1])


def pairs(rule: Any, seed: int) -> tuple[Tensor, float]:
    """Pairs ``(rows, 2)`` by drafting, and the mean number of accepted vectors."""
    noise = FieldNoise(ROWS, 3, seed)
    drafter = Model(DRAFTER, rule.final_noise, noise)
    target = Model(TARGET, rule.final_noise, noise)
    start = torch.zeros(ROWS, 1, dtype=torch.float64)
    verdict, draft = round_of(rule, drafter, target, start, 0)
    count = verdict.accepted.unsqueeze(1)
    first = torch.where(count > 0, draft.units[:, 0, 0], following(verdict, target, start, 0))
    second = torch.where(count > 1, draft.units[:, 1, 0], following(verdict, target, first, 1))
    # Rows whose first vector was refused draft their second in a round of its own.
    verdict, draft = round_of(rule, drafter, target, first, 1)
    kept = verdict.accepted.unsqueeze(1) > 0
    later = torch.where(kept, draft.units[:, 0, 0], following(verdict, target, first, 1))
    out = torch.cat([first, torch.where(count > 0, second, later)], 1)
    return out, float(count.double().mean())


def pvalues(out: Tensor, final_noise: FinalNoise) -> list[float]:
    """KS tests of both marginals and of the second vector given the first."""
    zero, one = torch.zeros(1), torch.ones(1)
    base, weights = response(TARGET, PROCESS, zero, final_noise=final_noise)
    slope = float(response(TARGET, PROCESS, one, final_noise=final_noise)[0] - base)
    mean, std = float(base), float(weights.norm())
    rest = out[:, 1] - slope * out[:, 0]
    wide = std * math.sqrt(1 + slope**2)
    # The covariance pins down how the two hang together: slope times the variance of the first.
    assert float(torch.corrcoef(torch.stack([rest, out[:, 0]]))[0, 1]) == pytest.approx(0, abs=0.05)
    tests = ((out[:, 0], mean, std), (out[:, 1], mean * (1 + slope), wide), (rest, mean, std))
    return [float(kstest(x.numpy(), norm(m, s).cdf).pvalue) for x, m, s in tests]


@pytest.mark.parametrize(
    ("rule", "least"),
    [(LastStepCoupling(), 0.3), (SmoothedCoupling(0.4), 1.0), (StepwiseCoupling(), 0.3)],
    ids=["last step", "smoothed", "stepwise"],
)
def test_pairs_have_the_targets_joint_law(rule: Any, least: float) -> None:
    out, accepted = pairs(rule, seed=1)
    assert accepted > least
    assert min(pvalues(out, rule.final_noise)) > 0.005


def test_published_rule_is_found_biased_on_pairs() -> None:
    out, accepted = pairs(Published(), seed=1)
    assert accepted > 0.3
    assert min(pvalues(out, "learned")) < 1e-9


def test_tolerance_of_nothing_gives_the_targets_pairs_bit_for_bit() -> None:
    out, accepted = pairs(Tolerance(0.0), seed=1)
    target = Model(TARGET, "none", FieldNoise(ROWS, 3, 1))
    first = target.chain(torch.zeros(ROWS, 1, dtype=torch.float64), 0)[1]
    second = target.chain(first, 1)[1]
    assert accepted == 0.0
    assert torch.equal(out, torch.cat([first, second], 1))


def test_tolerance_bounds_each_vector_given_the_prefix() -> None:
    out, accepted = pairs(Tolerance(0.12), seed=1)
    assert accepted > 0.3
    target = Model(TARGET, "none", FieldNoise(ROWS, 3, 1))
    first = target.chain(torch.zeros(ROWS, 1, dtype=torch.float64), 0)[1]
    second = target.chain(out[:, :1], 1)[1]
    away = (out - torch.cat([first, second], 1)).abs()
    assert 0.1 < float(away.max()) <= 0.12
