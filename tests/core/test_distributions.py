"""The identities that every exact rule rests on, without sampling."""

from __future__ import annotations

import pytest
import torch

from mmspec.distributions import (
    Categorical,
    OneHot,
    invert_cdf,
    overlap,
    residual,
    take_rows,
    total_variation,
    without,
)
from tests.core.toy import P3, Q3, laws, random_laws

EDGES = {
    "q is p": (P3, P3),
    "disjoint": ((1.0, 0.0, 0.0), (0.0, 0.4, 0.6)),
    "one-hot q": (P3, (0.0, 1.0, 0.0)),
    "one-hot p": ((0.0, 0.0, 1.0), Q3),
    "zeros in p": ((0.7, 0.0, 0.3), Q3),
    "tiny mass": ((1 - 1e-12, 1e-12, 0.0), (1.0, 0.0, 0.0)),
}


def identity_error(p: torch.Tensor, q: torch.Tensor) -> float:
    """``q * accept + P(refuse) * residual - p`` at its worst."""
    accept = torch.where(q > 0, (p / q.clamp(min=1e-300)).clamp(max=1.0), 0.0)
    kept = q * accept
    refused = 1 - kept.sum(-1, keepdim=True)
    return float((kept + refused * residual(p, q) - p).abs().max())


@pytest.mark.parametrize("pair", EDGES.values(), ids=EDGES)
def test_accepted_plus_corrected_is_the_target(pair: tuple[tuple[float, ...], ...]) -> None:
    assert identity_error(laws(pair[0]), laws(pair[1])) < 1e-12


@pytest.mark.parametrize("sharp", [0.1, 1.0, 20.0])
def test_identity_on_random_laws(sharp: float) -> None:
    p, q = random_laws(500, 37, 1, sharp), random_laws(500, 37, 2, sharp)
    assert identity_error(p, q) < 1e-12
    assert torch.allclose(overlap(p, q), 1 - total_variation(p, q))
    assert identity_error(p.float(), q.float()) < 1e-6


def test_f3_numbers() -> None:
    p, q, middle = laws(P3), laws(Q3), laws((0.45, 0.35, 0.2))
    assert float(overlap(p, q)) == pytest.approx(0.6)
    assert float(total_variation(q, p)) == pytest.approx(0.4)
    assert float(total_variation(q, middle)) == pytest.approx(0.25)
    assert float(total_variation(middle, p)) == pytest.approx(0.15)
    assert float(overlap(q, middle)) == pytest.approx(0.75)
    assert float(overlap(middle, p)) == pytest.approx(0.85)
    assert residual(p, q)[0].tolist() == pytest.approx([1, 0, 0])


def test_residual_of_equal_laws_is_the_law_itself() -> None:
    p = random_laws(20, 9, 3)
    assert torch.equal(residual(p, p), p)


def test_inverting_the_cumulative_law_covers_exact_shares() -> None:
    p = laws((0.25, 0.0, 0.5, 0.25), (0.0, 0.75, 0.25, 0.0))
    uniforms = ((torch.arange(400) + 0.5) / 400).double().expand(2, -1)
    drawn = invert_cdf(p.unsqueeze(1).expand(-1, 400, -1), uniforms)
    shares = torch.nn.functional.one_hot(drawn, 4).double().mean(1)
    assert torch.allclose(shares, p, atol=1e-12)


@pytest.mark.parametrize("uniform", [0.0, 0.25, 0.5, 1 - 2.0**-53])
def test_units_without_mass_are_never_drawn(uniform: float) -> None:
    p = laws((0.0, 0.25, 0.25, 0.5, 0.0), (0.0, 0.0, 1.0, 0.0, 0.0), (0.3, 0.3, 0.3, 0.1, 0.0))
    drawn = invert_cdf(p, torch.full((3,), uniform, dtype=torch.float64))
    assert (p.gather(1, drawn.unsqueeze(1)) > 0).all()


def test_inverting_a_large_vocabulary_in_float32_keeps_the_tail() -> None:
    p = torch.full((1, 150_000), 1 / 150_000)
    uniforms = torch.tensor([0.999999], dtype=torch.float64)
    assert abs(int(invert_cdf(p, uniforms)) - 149_999) <= 1


def test_without_renormalises() -> None:
    assert without(laws(Q3), torch.tensor([1]))[0].tolist() == pytest.approx([0.4, 0, 0.6])
    assert without(laws((0, 1, 0)), torch.tensor([1]))[0].tolist() == [0, 0, 0]


def test_take_rows() -> None:
    values = torch.arange(24).view(2, 3, 4)
    taken = take_rows(values, torch.tensor([[2, 0], [1, 1]]))
    assert torch.equal(taken, torch.stack([values[0, [2, 0]], values[1, [1, 1]]]))


def test_laws_report_probabilities_and_refuse_what_they_cannot_draw() -> None:
    scores = laws(P3).log().unsqueeze(0)
    hot = OneHot(units=torch.tensor([[0]]), scores=scores)
    units = torch.tensor([[1]])
    assert hot.probability(torch.tensor([[0]]), units).item() == pytest.approx(0.3)
    soft = Categorical(laws(P3).unsqueeze(0))
    assert soft.probability(torch.tensor([[0]]), units).item() == pytest.approx(0.3)
    with pytest.raises(ValueError, match="names no units"):
        OneHot().draw()
    with pytest.raises(ValueError, match="uniform"):
        soft.draw()
