"""Every row of the oracle: acceptance vectors, acceptance rates, output laws and their bias."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from image_ar.discrete.cool import AnnealedRelaxation
from image_ar.discrete.gsd import GroupedSpeculation
from image_ar.discrete.lantern import Lantern, LanternPlus
from image_ar.discrete.laws import (
    Step,
    acceptance_rate,
    one_step_bias,
    output_law,
    refusal_law,
)
from mmspec.distributions import overlap, total_variation
from tests.image_ar.discrete.oracle import POSITIONS, Q_A, Q_B, P, neighbours, random_law, ring

N = neighbours()
EXACT_A = (1, 0.733333, 1, 0.56, 0.5, 0.6)
POOLED_B = (1, 1, 1, 0.6, 1, 1)
ONE_HALF = (0.159091, 0.124182, 0.106727, 0.36, 0.15, 0.10)
MOVED = (0.207895, 0.05, 0.132105, 0.36, 0.15, 0.10)
STATIC = (0.152857, 0.125429, 0.111714, 0.36, 0.15, 0.10)
BLOCKS = (1, 1, 1, 1, 0.533333, 0.533333)
B_LANTERN, B_PLUS = Lantern(N, 0.25, 2), LanternPlus(N, 2.9, 2)
PARTITION = GroupedSpeculation(2, mode="partition")

# relaxation, residual, q, acceptance vector, acceptance rate, output law, bias
ROWS: dict[str, tuple[Any, str, Tensor, tuple[float, ...], float, Any, float]] = {
    "A exact": (Lantern(N, 0.0, 2), "optimal", Q_A, EXACT_A, 0.67, P, 0),
    "A lantern .05": (Lantern(N, 0.05, 2), "optimal", Q_A, EXACT_A, 0.67, P, 0),
    "A lantern .2": (
        *(Lantern(N, 0.2, 2), "optimal", Q_A, (1, 0.733333, 1, 0.56, 1, 1), 0.81),
        *((0.215152, 0.22, 0.124848, 0.14, 0.20, 0.10), 0.14),
    ),
    "A lantern++ 3": (LanternPlus(N, 3, 3), "optimal", Q_A, (1,) * 6, 1, Q_A, 0.33),
    "B exact": (
        *(Lantern(N, 0.25, 0), "optimal", Q_B),
        *((1, 1, 1, 0.233333, 0.666667, 0.6), 0.45, P, 0),
    ),
    "B optimal": (B_LANTERN, "optimal", Q_B, POOLED_B, 0.76, ONE_HALF, 0.31),
    "B plain": (B_LANTERN, "plain", Q_B, POOLED_B, 0.76, ONE_HALF, 0.31),
    "B moved": (B_LANTERN, "mass_moved", Q_B, POOLED_B, 0.76, MOVED, 0.31),
    "B static": (B_LANTERN, "official_static", Q_B, POOLED_B, 0.76, STATIC, 0.31),
    "B lantern++": (B_PLUS, "optimal", Q_B, POOLED_B, 0.76, ONE_HALF, 0.31),
    "B lantern++ moved": (B_PLUS, "mass_moved", Q_B, POOLED_B, 0.76, MOVED, 0.31),
    "B lantern++ static": (B_PLUS, "official_static", Q_B, POOLED_B, 0.76, STATIC, 0.31),
    "A cool 1.1": (
        *(AnnealedRelaxation(1.1), "optimal", Q_A, (1, 0.806667, 1, 0.616, 0.55, 0.66), 0.722),
        *((0.268485, 0.242, 0.159515, 0.154, 0.11, 0.066), 0.052),
    ),
    "A cool 1.5": (
        *(AnnealedRelaxation(1.5), "plain", Q_A, (1, 1, 1, 0.84, 0.75, 0.9), 0.90),
        *((0.160606, 0.30, 0.089394, 0.21, 0.15, 0.09), 0.23),
    ),
    "A partition": (
        *(PARTITION, "plain", Q_A, BLOCKS, 0.86),
        *((0.184848, 0.30, 0.105152, 0.25, 0.106667, 0.053333), 0.196667),
    ),
    "A partition cluster": (
        *(PARTITION, "cluster", Q_A, BLOCKS, 0.86),
        *((0.169231, 0.350769, 0.06125, 0.25875, 0.106667, 0.053333), 0.256186),
    ),
    "A window 1": (
        *(GroupedSpeculation(3), "plain", Q_A, (1, 1, 0.9, 0.84, 0.545455, 0.533333), 0.817424),
        *((0.210652, 0.30, 0.116924, 0.21, 0.109091, 0.053333), 0.159091),
    ),
    "A window 1 near": (
        *(GroupedSpeculation(3, distance_tol=5.0, codebook=POSITIONS), "plain", Q_A),
        *((1, 1, 1, 0.56, 0.5, 0.6), 0.75),
        *((0.251515, 0.30, 0.148485, 0.14, 0.10, 0.06), 0.08),
    ),
    "A window 2": (
        *(GroupedSpeculation(5), "plain", Q_A, (1, 1, 1, 0.777778, 0.8, 0.545455), 0.858990),
        *((0.185461, 0.30, 0.105549, 0.194444, 0.16, 0.054545), 0.194444),
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_oracle(row: tuple[Any, str, Tensor, tuple[float, ...], float, Any, float]) -> None:
    relaxation, residual, q, accept, rate, law, bias = row
    step = Step(relaxation, P, q)
    assert relaxation.acceptance(P, q, 0, 1.0).tolist() == pytest.approx(accept, abs=1e-6)
    assert float(acceptance_rate(step)) == pytest.approx(rate, abs=1e-6)
    expected = law.tolist() if isinstance(law, Tensor) else law
    assert output_law(step, residual).tolist() == pytest.approx(expected, abs=1e-6)
    assert float(one_step_bias(step, residual)) == pytest.approx(bias, abs=1e-6)


def test_cluster_residual_keeps_the_mass_of_every_group() -> None:
    law = output_law(Step(PARTITION, P, Q_A), "cluster").view(3, 2).sum(1)
    assert law.tolist() == pytest.approx([0.52, 0.32, 0.16], abs=1e-6)
    token = output_law(Step(PARTITION, P, Q_A), "plain").view(3, 2).sum(1)
    assert float(total_variation(token, P.view(3, 2).sum(1))) > 0.03


def test_most_two_draws_can_agree_is_the_exact_acceptance() -> None:
    assert float(total_variation(P, Q_A)) == pytest.approx(0.33, abs=1e-6)
    assert float(overlap(P, Q_A)) == pytest.approx(0.67, abs=1e-6)
    assert float((P * Q_A).sum()) == pytest.approx(0.166, abs=1e-6)
    assert float(acceptance_rate(Step(PARTITION, P, Q_A, slack=0.0))) == pytest.approx(0.67)


def pairs() -> dict[str, tuple[Tensor, Tensor]]:
    hot, cold = torch.eye(12)[3], torch.eye(12)[7]
    p, q = random_law(12, seed=1), random_law(12, seed=2)
    some = torch.tensor([1.0] * 6 + [0.0] * 6)
    return {
        "random": (p, q),
        "q is p": (p, p),
        "one-hot q": (p, hot),
        "one-hot p": (cold, q),
        "disjoint": (p * some / (p * some).sum(), q * (1 - some) / (q * (1 - some)).sum()),
        "filtered": (p * some / (p * some).sum(), q),
    }


POLICIES: dict[str, Any] = {
    "lantern": Lantern(ring(12, 5), 0.3, 4),
    "lantern++": LanternPlus(ring(12, 5), 4.0, 4),
    "cool": AnnealedRelaxation(1.7),
    "window": GroupedSpeculation(5),
    "partition": GroupedSpeculation(4, mode="partition"),
    "official": GroupedSpeculation(4, mode="official"),
}
EVERY = [(name, residual) for name, policy in POLICIES.items() for residual in policy.residuals]


@pytest.mark.parametrize("pair", pairs())
@pytest.mark.parametrize(("name", "residual"), EVERY)
def test_output_laws_are_laws_and_equal_the_sum_over_units(
    name: str, residual: str, pair: str
) -> None:
    p, q = pairs()[pair]
    policy = POLICIES[name]
    step = Step(policy, p, q)
    accept = policy.acceptance(p, q, 0, 1.0)
    expected = q * accept
    for unit in range(len(p)):
        law = refusal_law(residual, step, torch.tensor(unit))
        assert float(law.sum()) == pytest.approx(1.0, abs=1e-5)
        expected = expected + q[unit] * (1 - accept[unit]) * law
    assert torch.allclose(output_law(step, residual), expected, atol=1e-6)
    assert float(expected.sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("name", "residual"), EVERY)
def test_leading_dimensions_are_only_batches(name: str, residual: str) -> None:
    p, q = random_law(2, 3, 12, seed=3), random_law(2, 3, 12, seed=4)
    depth = torch.arange(3).expand(2, 3)
    found = one_step_bias(Step(POLICIES[name], p, q, depth, 0.7), residual)
    for row in range(2):
        for column in range(3):
            one = Step(POLICIES[name], p[row, column], q[row, column], column, 0.7)
            assert float(found[row, column]) == pytest.approx(
                float(one_step_bias(one, residual)), abs=1e-6
            )


@pytest.mark.parametrize("name", POLICIES)
def test_slack_zero_has_no_bias_and_chance_is_a_gather(name: str) -> None:
    policy = POLICIES[name]
    for residual in policy.residuals:
        step = Step(policy, *pairs()["filtered"], 0, 0.0)
        assert float(one_step_bias(step, residual)) < 1e-6
    p, q = random_law(4, 12, seed=5), random_law(4, 12, seed=6)
    assert torch.equal(policy.acceptance(p, q, 0, 0.0), (p / q).clamp(max=1.0))
    assert float(one_step_bias(Step(policy, p, q, 0, 0.0)).max()) < 1e-6
    units = torch.tensor([0, 5, 11, 3])
    for slack in (0.0, 0.4, 1.0):
        full = policy.acceptance(p, q, 1, slack).gather(-1, units.unsqueeze(-1)).squeeze(-1)
        assert torch.equal(policy.chance(p, q, units, 1, slack), full)


@pytest.mark.parametrize("row", ROWS)
def test_bias_grows_with_slack(row: str) -> None:
    relaxation, _, q, *_ = ROWS[row]
    biases = [
        float(one_step_bias(Step(relaxation, P, q, 0, share / 10), "optimal"))
        for share in range(11)
    ]
    assert biases[0] < 1e-6
    assert all(after >= before - 1e-6 for before, after in pairwise(biases))


def test_zero_mass_falls_back_to_p_never_to_uniform() -> None:
    p = torch.tensor([0.5, 0.5, 0.0, 0.0])
    table = ring(4, 3)
    wide = Lantern(table, 1.0, 2)
    for residual in wide.residuals:
        law = refusal_law(residual, Step(wide, p, p), torch.tensor(0))
        assert float(law[2:].sum()) == 0.0
        assert float(law.sum()) == pytest.approx(1.0)
    certain = torch.tensor([0.0, 1.0, 0.0, 0.0])
    law = refusal_law("official_dynamic", Step(wide, certain, p), torch.tensor(1))
    assert law.tolist() == certain.tolist()


def test_unknown_residuals_name_the_known() -> None:
    with pytest.raises(ValueError, match=r"cool must be one of optimal, plain, got .mass_moved"):
        refusal_law("mass_moved", Step(AnnealedRelaxation(1.1), P, Q_A), torch.tensor(0))
    with pytest.raises(ValueError, match="cluster"):
        output_law(Step(GroupedSpeculation(3), P, Q_A), "cluster")
    with pytest.raises(ValueError, match="needs the 3 nearest codes, the neighbour table has 2"):
        output_law(Step(Lantern(neighbours(2), 0.1, 2), P, Q_B), "official_static")
