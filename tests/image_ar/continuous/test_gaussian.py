"""Couplings of Gaussian steps: closed forms, exact output laws, biased twins that fail."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest, norm
from torch import Tensor

from image_ar.continuous.gaussian import (
    MOST_CANDIDATES,
    GaussianStep,
    candidate_numbers,
    draw_residual,
    failure_bound,
    keyed_clocks,
    log_ratio,
    overlap,
    reflect,
    stays,
    surplus,
)

DRAWS = 40_000
# Draft mean and std, target mean and std; overlap, where the densities cross, tries once refused.
UNEQUAL = [
    ((0, 1, 0, 2), 0.6773254312, (-1.35955599, 1.35955599), 3.099098),
    ((0, 1, 1, 2), 0.6099343399, (-1.84754498, 1.18087832), 2.563671),
    ((0, 2, 1, 1), 0.6099343399, (-0.18087832, 2.84754498), 2.563671),
    ((0.3, 0.8, -0.2, 1.1), 0.7564243566, (-0.34738758, 2.0701946), 4.105501),
]


def step(mean: float, std: float, width: int = 1) -> GaussianStep:
    shape = (width,)
    return GaussianStep(
        torch.full(shape, mean, dtype=torch.float64),
        torch.full(shape, math.log(std), dtype=torch.float64),
    )


def many(one: GaussianStep, count: int = DRAWS) -> GaussianStep:
    return GaussianStep(one.mean.expand(count, -1), one.log_std.expand(count, -1))


def numbers(seed: int, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    """Normals, and two uniforms a row."""
    generator = torch.Generator().manual_seed(seed)
    normals = torch.randn(shape, generator=generator, dtype=torch.float64)
    uniforms = torch.rand(2, shape[0], generator=generator, dtype=torch.float64)
    return normals, uniforms[0], uniforms[1]


def coupled(p: GaussianStep, q: GaussianStep, seed: int) -> tuple[Tensor, Tensor]:
    """Drafts from ``q``, judged and replaced by rejection; the outputs and which drafts stayed."""
    p, q = many(p), many(q)
    normals, accept, keys = numbers(seed, DRAWS, p.mean.shape[-1])
    x = q.draw(normals)
    kept = stays(log_ratio(p, q, x), accept.log())
    values, found = draw_residual(p, q, keys, ~kept)
    assert bool(found[~kept].all())
    assert not bool(found[kept].any())
    return torch.where(kept.unsqueeze(-1), x, values), kept


def pvalue(sample: Tensor, mean: float, std: float) -> float:
    return float(kstest(sample.numpy(), norm(mean, std).cdf).pvalue)


def test_density_is_that_of_a_product_of_normals() -> None:
    law = GaussianStep(torch.tensor([0.5, -2.0]), torch.tensor([0.3, 4.0]).log())
    x = torch.tensor([[0.1, 1.0], [2.0, -2.0]])
    expected = norm(0.5, 0.3).logpdf(x[:, 0]) + norm(-2, 4).logpdf(x[:, 1])
    assert law.log_density(x).tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert torch.allclose(law.draw(law.whiten(x)), x, atol=1e-6)
    other = GaussianStep(torch.tensor([0.1, -1.0]), torch.tensor([1.3, 2.0]).log())
    found = log_ratio(law, other, x)
    assert torch.allclose(found, law.log_density(x) - other.log_density(x), atol=1e-9)
    assert log_ratio(law, law, x).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("gap", "std", "expected"),
    [
        (0.0, 1.0, 1.0),
        (0.5, 1.0, 0.8025873486),
        (1.0, 1.0, 0.6170750775),
        (2.0, 1.0, 0.3173105079),
        (4.0, 1.0, 0.0455002639),
        (1.0, 0.5, 0.3173105079),
    ],
)
def test_overlap_of_equal_spreads(gap: float, std: float, expected: float) -> None:
    p, q = step(gap, std), step(0.0, std)
    assert float(overlap(p, q)) == pytest.approx(expected, abs=1e-9)
    wide_p, wide_q = step(gap / 4, std, 16), step(0.0, std, 16)
    assert float(overlap(wide_p, wide_q)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("laws", "shared", "crossings", "tries"), UNEQUAL)
def test_unequal_spreads_by_integration(
    laws: tuple[float, ...], shared: float, crossings: tuple[float, float], tries: float
) -> None:
    q, p = step(*laws[:2]), step(*laws[2:])

    def at(x: float) -> Tensor:
        return torch.tensor([x], dtype=torch.float64)

    def kept(x: float) -> float:
        return math.exp(min(0.0, float(log_ratio(p, q, at(x)))) + float(q.log_density(at(x))))

    def left(x: float) -> float:
        return float(surplus(p, q, at(x))) * math.exp(float(p.log_density(at(x))))

    for crossing in crossings:
        assert float(log_ratio(p, q, at(crossing))) == pytest.approx(0.0, abs=1e-7)
    edges = [-30.0, *crossings, 30.0]
    pieces = list(pairwise(edges))
    assert sum(quad(kept, *piece)[0] for piece in pieces) == pytest.approx(shared, abs=1e-9)
    assert 1 / sum(quad(left, *piece)[0] for piece in pieces) == pytest.approx(tries, abs=1e-5)


@pytest.mark.parametrize(("laws", "shared"), [case[:2] for case in UNEQUAL])
def test_rejection_leaves_the_targets_law(laws: tuple[float, ...], shared: float) -> None:
    out, kept = coupled(step(*laws[2:]), step(*laws[:2]), seed=1)
    assert float(kept.double().mean()) == pytest.approx(shared, abs=0.01)
    assert pvalue(out[:, 0], *laws[2:]) > 0.01


def test_plain_draw_on_refusal_is_found_biased() -> None:
    """The twin that replaces a refused draft by a draw from the target: its mean is 0.47."""
    p, q = many(step(1, 2)), many(step(0, 1))
    normals, accept, _ = numbers(2, DRAWS, 1)
    x = q.draw(normals)
    kept = stays(log_ratio(p, q, x), accept.log())
    out = torch.where(kept.unsqueeze(-1), x, p.draw(numbers(3, DRAWS, 1)[0]))[:, 0]
    assert float(out.mean()) == pytest.approx(0.470, abs=0.03)
    assert float(out.std()) == pytest.approx(1.604, abs=0.03)
    found = kstest(out.numpy(), norm(1, 2).cdf)
    assert found.statistic == pytest.approx(0.179, abs=0.01)
    assert found.pvalue < 1e-50
    right, _ = coupled(step(1, 2), step(0, 1), seed=2)
    assert float(right.mean()) == pytest.approx(1, abs=0.04)
    assert float(right.std()) == pytest.approx(2, abs=0.04)


def test_candidates_per_drafted_vector_are_one_on_average() -> None:
    """Giving up after ``r`` candidates fails as often as a geometric number of tries exceeds it."""
    p, q = many(step(1, 2)), many(step(0, 1))
    normals, accept, keys = numbers(4, DRAWS, 1)
    refused = ~stays(log_ratio(p, q, q.draw(normals)), accept.log())
    distance = 1 - 0.6099343399
    tries = 0.0
    for most in range(16):
        _, found = draw_residual(p, q, keys, refused, most=most)
        failed = float((refused & ~found).double().mean())
        assert failed == pytest.approx(distance * (1 - distance) ** most, abs=0.01)
        tries += failed
    tail = (1 - distance) ** 16
    assert tries + tail == pytest.approx(1.0, abs=0.03)


def test_rejection_in_many_dimensions() -> None:
    p = GaussianStep(torch.tensor([0.2, -0.1, 0.0]).double(), torch.tensor([0.9, 1.1, 1.0]).log())
    out, kept = coupled(p, step(0.0, 1.0, 3), seed=5)
    for dim in range(3):
        assert pvalue(out[:, dim], float(p.mean[dim]), float(p.std[dim])) > 0.01
    along = out @ torch.tensor([1.0, 1.0, 1.0]).double()
    assert pvalue(along, 0.1, math.sqrt(0.81 + 1.21 + 1.0)) > 0.01
    assert 0.5 < float(kept.double().mean()) < 0.95


def test_reflection_is_exact_in_three_dimensions() -> None:
    shift, std = torch.tensor([0.6, -0.3, 0.2], dtype=torch.float64), 0.7
    q = many(step(0.0, std, 3))
    p = GaussianStep(shift.expand(DRAWS, -1), q.log_std)
    normals, accept, _ = numbers(6, DRAWS, 3)
    x = q.draw(normals)
    kept = stays(log_ratio(p, q, x), accept.log())
    out = torch.where(kept.unsqueeze(-1), x, reflect(p, q, x))
    assert float(overlap(p, q)[0]) == pytest.approx(0.6170750775, abs=1e-9)
    assert float(kept.double().mean()) == pytest.approx(0.6171, abs=0.008)
    assert torch.allclose(torch.cov(out.T), 0.49 * torch.eye(3).double(), atol=0.01)
    for dim in range(3):
        assert pvalue(out[:, dim], float(shift[dim]), std) > 0.01
    assert pvalue(out @ shift, float(shift @ shift), std * float(shift.norm())) > 0.01
    unmoved = torch.where(kept.unsqueeze(-1), x, p.draw(normals))
    assert pvalue(unmoved @ shift, float(shift @ shift), std * float(shift.norm())) < 1e-9


def test_reflection_of_equal_laws_is_the_vector_itself() -> None:
    one = step(0.3, 0.5, 4)
    x = one.draw(torch.arange(4.0).double())
    assert torch.allclose(reflect(one, one, x), x)
    assert float(overlap(one, one)) == 1.0


def test_stepwise_coupling_of_a_chain_of_reflections() -> None:
    """Corrected state by corrected state; refused steps add up as the distances do."""
    shifts, stds = (0.5, 0.3, 0.2), (1.0, 0.5, 0.25)
    state, refused = numbers(7, DRAWS, 1)[0], torch.zeros(DRAWS)
    expected = 0.0
    for i, (shift, std) in enumerate(zip(shifts, stds, strict=True)):
        spread = torch.full_like(state, math.log(std))
        q, p = GaussianStep(0.8 * state, spread), GaussianStep(0.8 * state + shift, spread)
        normals, accept, _ = numbers(8 + i, DRAWS, 1)
        x = q.draw(normals)
        kept = stays(log_ratio(p, q, x), accept.log())
        state = torch.where(kept.unsqueeze(-1), x, reflect(p, q, x))
        refused += ~kept
        expected += 1 - float(overlap(p, q)[0])
    assert expected == pytest.approx(0.744079, abs=1e-6)
    assert float(refused.mean()) == pytest.approx(expected, abs=0.02)
    assert pvalue(state[:, 0], 0.76, 0.9456447536) > 0.01


@pytest.mark.parametrize(
    ("steps", "shift", "std", "expected"),
    [(10, 0.2, 0.5, 0.5270892569), (100, 0.2, 0.5, 0.0455002639)],
)
def test_whole_paths_overlap_as_one_wide_step(
    steps: int, shift: float, std: float, expected: float
) -> None:
    """Constant whitened shifts add up in squares: one step of ``steps`` dimensions is the same."""
    p, q = step(shift, std, steps), step(0.0, std, steps)
    assert float(overlap(p, q)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("most", "expected"), [(10, 0.0350), (100, 0.00366), (1000, 0.000368)])
def test_bound_of_giving_up_is_the_worst_case(most: int, expected: float) -> None:
    assert failure_bound(most) == pytest.approx(expected, rel=0.01)
    grid = torch.linspace(0, 1, 200_001).double()
    worst = float((grid * (1 - grid) ** most).max())
    assert worst <= failure_bound(most) * (1 + 1e-9)
    assert worst == pytest.approx(failure_bound(most), rel=1e-4)


def test_stated_bound_of_the_default() -> None:
    assert failure_bound(MOST_CANDIDATES) < 6e-6


def test_identical_laws_give_up_and_say_so() -> None:
    one = many(step(0.0, 1.0), 3)
    wanted = torch.tensor([True, False, True])
    values, found = draw_residual(one, one, torch.rand(3).double(), wanted)
    assert not bool(found.any())
    assert torch.equal(values, one.mean)


def test_a_vectors_candidates_follow_from_its_key_alone() -> None:
    p, q = many(step(0.05, 1.0), 50), many(step(0.0, 1.0), 50)
    keys = numbers(9, 50, 1)[1]
    together, _ = draw_residual(p, q, keys, torch.ones(50).bool())
    some = torch.arange(50) % 7 == 0
    alone, found = draw_residual(p, q, keys, some)
    assert torch.equal(found, some)
    assert torch.equal(alone[some], together[some])
    assert len(set(together.flatten().tolist())) == 50


def test_candidate_numbers_are_standard_normal_and_independent() -> None:
    keys = numbers(10, 20_000, 1)[1]
    normals, uniforms = candidate_numbers(keys, 0, 2, 3)
    flat = torch.cat([normals.flatten(1), torch.special.ndtri(uniforms)], 1)
    for column in flat.T:
        assert pvalue(column, 0.0, 1.0) > 0.001
    assert float((torch.corrcoef(flat.T) - torch.eye(8).double()).abs().max()) < 0.03
    assert torch.equal(candidate_numbers(keys, 1, 1, 3)[0][:, 0], normals[:, 1])
    clocks = keyed_clocks(keys, 0, 3)
    assert bool((clocks > 0).all())
    assert kstest((-clocks[:, 2]).exp().numpy(), "uniform").pvalue > 0.001


def test_ratios_that_are_not_finite_refuse() -> None:
    ratio = torch.tensor([math.nan, math.inf, -math.inf, 0.0])
    assert stays(ratio, torch.full((4,), -1e9)).tolist() == [False, False, False, True]


def test_spreads_that_differ_are_named() -> None:
    p, q = step(0, 1), step(0, 2)
    with pytest.raises(ValueError, match="one spread"):
        overlap(p, q)
    with pytest.raises(ValueError, match="draw_residual"):
        reflect(p, q, p.mean)
