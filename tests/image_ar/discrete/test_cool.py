"""COOL-SD: weights by depth and the bound they give."""

from __future__ import annotations

from math import exp

import pytest
import torch

from image_ar.discrete.cool import AnnealedRelaxation
from image_ar.discrete.laws import Step, one_step_bias
from tests.image_ar.discrete.oracle import Q_A, P, random_law


def test_weights_cool_down_to_one() -> None:
    weights = AnnealedRelaxation(2.0).weight(torch.arange(4), 1.0).tolist()
    assert weights == pytest.approx([2.0, max(1.0, 2 * exp(-0.7)), 1.0, 1.0])
    slow = AnnealedRelaxation(2.0, nu=0.1, mu=0.2).weight(torch.arange(3), 1.0).tolist()
    assert slow == pytest.approx([2 * exp(-0.2), 2 * exp(-0.3), 2 * exp(-0.4)])
    assert AnnealedRelaxation(2.0).weight(0, 0.25).item() == pytest.approx(1.25)


def test_depth_broadcasts() -> None:
    policy = AnnealedRelaxation(1.5, nu=0.2)
    p, q = P.expand(2, 3, 6), Q_A.expand(2, 3, 6)
    found = policy.acceptance(p, q, torch.arange(3), 1.0)
    for depth in range(3):
        assert torch.equal(found[1, depth], policy.acceptance(P, Q_A, depth, 1.0))
    units = torch.tensor([[0, 1, 2], [3, 4, 5]])
    chance = policy.chance(p, q, units, torch.arange(3), 1.0)
    assert torch.equal(chance, found.gather(-1, units.unsqueeze(-1)).squeeze(-1))


@pytest.mark.parametrize("delta", [1.05, 1.4, 1.9])
def test_weight_bounds_the_output_law(delta: float) -> None:
    p, q = random_law(100, 20, seed=1), random_law(100, 20, seed=2)
    policy = AnnealedRelaxation(delta)
    assert float(one_step_bias(Step(policy, p, q)).max()) <= delta - 1 + 1e-6
    assert policy.certificate.kind == "bounded"


def test_certificates_and_checks() -> None:
    assert AnnealedRelaxation(1.0).certificate.lossless
    assert AnnealedRelaxation(1.1, mu=1.0).certificate.lossless
    assert AnnealedRelaxation(2.5).certificate.kind == "lossy"
    for options in ({"delta": 0.5}, {"delta": 1.1, "nu": -1.0}, {"delta": 1.1, "mu": float("nan")}):
        with pytest.raises(ValueError, match="must be finite and at least"):
            AnnealedRelaxation(**options)
