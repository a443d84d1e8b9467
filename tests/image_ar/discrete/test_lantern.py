"""LANTERN and LANTERN++: what is pooled, what bounds it, and what does not."""

from __future__ import annotations

import pytest
import torch

from image_ar.discrete.lantern import Lantern, LanternPlus
from image_ar.discrete.laws import Step, one_step_bias
from image_ar.discrete.neighbours import Neighbours
from mmspec.distributions import total_variation
from tests.image_ar.discrete.oracle import POSITIONS, Q_B, P, neighbours, random_law, ring

N = neighbours()
UNITS = torch.arange(6)


@pytest.mark.parametrize(
    ("policy", "groups"),
    [
        (Lantern(N, 0.05, 2), [[], [], [], [], [], []]),
        (Lantern(N, 0.2, 2), [[], [], [], [], [2], [4]]),
        (LanternPlus(N, 3.0, 3), [[1, 2, 3], [0, 3], [0], [1], [2], [4]]),
        (LanternPlus(N, 2.9, 2), [[1, 2], [0], [0], [1], [2], [4]]),
    ],
)
def test_pools_of_the_oracle(policy: Lantern | LanternPlus, groups: list[list[int]]) -> None:
    pooled = policy.pooled(P, UNITS, 1.0)
    found = [row[mask].tolist() for row, mask in zip(pooled.ids, pooled.taken, strict=True)]
    assert found == groups
    sums = [float(P[unit] + P[group].sum()) for unit, group in enumerate(groups)]
    assert pooled.mass.tolist() == pytest.approx(sums)


def test_delta_bounds_what_one_unit_borrows_and_not_the_output_law() -> None:
    policy = Lantern(N, 0.25, 2)
    pooled = policy.pooled(P, UNITS, 1.0)
    assert float((pooled.mass - P).max()) <= 0.25
    assert float(one_step_bias(Step(policy, P, Q_B))) == pytest.approx(0.31, abs=1e-6)
    assert policy.certificate.kind == "lossy"
    assert "not the distance of the output law" in policy.certificate.why


@pytest.mark.parametrize("multiplier", [1.2, 1.9, 3.0, 20.0])
def test_lambda_bounds_growth_and_below_two_the_output_law(multiplier: float) -> None:
    policy = LanternPlus(ring(40, 10), multiplier, 10)
    p, q = random_law(50, 40, seed=1), random_law(50, 40, seed=2)
    mass = policy.pooled(p, torch.arange(40).expand(50, 40), 1.0).mass
    assert bool((mass <= multiplier * p * (1 + 1e-6)).all())
    bias = one_step_bias(Step(policy, p, q))
    assert float((bias - multiplier + 1).max()) < 1e-6
    assert bool((bias <= total_variation(p, q) + 1e-6).all())
    assert policy.certificate.kind == ("bounded" if multiplier < 2 else "lossy")


def test_a_unit_that_the_target_rules_out() -> None:
    """LANTERN lends it mass, LANTERN++ cannot."""
    p = torch.tensor([0.9, 0.1, 0.0, 0.0, 0.0, 0.0])
    q = torch.full((6,), 1 / 6)
    unit = torch.tensor(3)
    assert float(Lantern(N, 0.2, 1).chance(p, q, unit, 0, 1.0)) == pytest.approx(0.6)
    assert float(LanternPlus(N, 9.0, 1).chance(p, q, unit, 0, 1.0)) == 0.0


def test_ties_are_decided_in_float32() -> None:
    """The budget 1.8 x .10 and the mass .18 of the neighbour differ only by rounding."""
    policy, unit = LanternPlus(N, 2.8, 1), torch.tensor([4])
    taken = bool(policy.pooled(P, unit, 1.0).taken)
    assert taken == bool(P[2] <= P[4] * torch.tensor(2.8 - 1))
    assert taken == bool(policy.pooled(P, unit, 1.0).mass > P[4])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Lantern(ring(40, 10), 0.3, 10)
    p, q = random_law(3, 40, seed=1), random_law(3, 40, seed=2)
    whole = policy.acceptance(p, q, 0, 1.0)
    monkeypatch.setattr("image_ar.discrete.lantern._CHUNK", 100)
    assert torch.equal(policy.acceptance(p, q, 0, 1.0), whole)


def test_units_outside_the_codebook_are_judged_exactly() -> None:
    ids = torch.arange(2, 8)
    policy = Lantern(Neighbours.build(POSITIONS, 5, False, ids=ids), 1.0, 5)
    p, q = random_law(10, seed=3), random_law(10, seed=4)
    found, exact = policy.acceptance(p, q, 0, 1.0), (p / q).clamp(max=1.0)
    text = torch.tensor([0, 1, 8, 9])
    assert torch.equal(found[text], exact[text])
    assert float((found - exact).max()) > 0.1


@pytest.mark.parametrize("delta", [-0.1, 1.5, float("nan")])
def test_delta_is_checked(delta: float) -> None:
    with pytest.raises(ValueError, match=r"delta must be between 0.0 and 1.0"):
        Lantern(N, delta, 2)


@pytest.mark.parametrize("multiplier", [0.9, float("inf"), float("nan")])
def test_multiplier_is_checked(multiplier: float) -> None:
    with pytest.raises(ValueError, match="multiplier must be finite and at least 1"):
        LanternPlus(N, multiplier, 2)


def test_k_is_checked_and_neutral_options_are_exact() -> None:
    with pytest.raises(ValueError, match="k must be between 0 and 5, got 6"):
        Lantern(N, 0.1, 6)
    for policy in (Lantern(N, 0.0, 3), Lantern(N, 0.3, 0), LanternPlus(N, 1.0, 3)):
        assert policy.certificate.lossless
