"""The loss of diffusion heads, term by term."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from image_ar.continuous.chain import Condition
from image_ar.continuous.process import DiffusionProcess
from image_ar.continuous.training import diffusion_loss
from tests.image_ar.continuous.analytic import AnalyticHead

WHOLE = DiffusionProcess(1000)


class Fixed:
    """A head that says what it was told to."""

    def __init__(self, noise: Tensor, logits: Tensor) -> None:
        self.noise, self.logits, self.width = noise, logits, noise.shape[-1]
        self.seen: tuple[Tensor, Tensor] | None = None

    def __call__(self, state: Tensor, timestep: Tensor, condition: Condition) -> Any:
        self.seen = state, timestep
        return self.noise, self.logits


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def posterior(tokens: Tensor, state: Tensor, t: int) -> Normal:
    """The step back when the clean vector is known, by the text book."""
    level = float(WHOLE.alphas_cumprod[t])
    before = float(WHOLE.alphas_cumprod[t - 1]) if t else 1.0
    beta = float(WHOLE.betas[t])
    mean = beta * math.sqrt(before) * tokens + (1 - before) * math.sqrt(1 - beta) * state
    std = WHOLE.posterior_variance[t].sqrt()
    return Normal(mean / (1 - level), std)


def told(rows: int) -> Condition:
    return Condition(torch.zeros(rows, 2, dtype=torch.float64))


def test_state_is_the_noisy_vector_at_the_right_level() -> None:
    tokens, noise = numbers(0, 3, 4), numbers(1, 3, 4)
    head = Fixed(noise, torch.zeros_like(noise))
    times = torch.tensor([0, 500, 999])
    diffusion_loss(head, tokens, told(3), noise, times)
    assert head.seen is not None
    level = WHOLE.alphas_cumprod[times].unsqueeze(-1)
    assert torch.allclose(head.seen[0], level.sqrt() * tokens + (1 - level).sqrt() * noise)
    assert torch.equal(head.seen[1], times)
    diffusion_loss(head, 0 * tokens.float(), told(3), noise.float(), times)
    assert torch.allclose(head.seen[0], (1 - level).sqrt().float() * noise.float(), rtol=1e-6)


@pytest.mark.parametrize("time", [1, 40, 700, 999])
def test_loss_is_the_error_plus_the_divergence_in_bits(time: int) -> None:
    tokens, noise, said, logits = (numbers(seed, 5, 3) for seed in range(4))
    head = Fixed(said, logits)
    found = diffusion_loss(head, tokens, told(5), noise, torch.full((5,), time))
    assert head.seen is not None
    law = WHOLE.kernel(time, head.seen[0], said, logits)
    bits = kl_divergence(posterior(tokens, head.seen[0], time), Normal(law.mean, law.std))
    expected = (said - noise).square().mean(1) + bits.mean(1) / math.log(2)
    assert torch.allclose(found, expected, rtol=1e-6)


def test_a_perfect_prediction_costs_what_the_variance_misses() -> None:
    noise = numbers(1, 4, 3)
    for logit, zero in ((-1.0, True), (1.0, False)):
        head = Fixed(noise, torch.full_like(noise, logit))
        times = torch.tensor([1, 10, 300, 900])
        found = diffusion_loss(head, numbers(0, 4, 3), told(4), noise, times)
        assert bool((found.abs() < 1e-9).all()) is zero
        assert bool((found > -1e-9).all())


def test_variational_term_moves_the_variance_alone() -> None:
    tokens, noise = numbers(0, 6, 3), numbers(1, 6, 3)
    said, logits = numbers(2, 6, 3).requires_grad_(), numbers(3, 6, 3).requires_grad_()
    times = torch.tensor([0, 1, 5, 50, 500, 999])
    diffusion_loss(Fixed(said, logits), tokens, told(6), noise, times).sum().backward()
    assert said.grad is not None
    assert logits.grad is not None
    assert torch.allclose(said.grad, 2 * (said - noise).detach() / 3)
    assert bool((logits.grad[1:] != 0).all())


def test_last_step_is_a_law_over_256_values() -> None:
    """Probabilities of all values add up to 1, and each is the normal mass of its bin."""
    values = torch.linspace(-1, 1, 256, dtype=torch.float64).unsqueeze(-1)
    level = float(WHOLE.alphas_cumprod[0])
    state = torch.full_like(values, 0.3)
    noise = (state - math.sqrt(level) * values) / math.sqrt(1 - level)
    said, logits = numbers(4, 1, 1).expand(256, 1), torch.full_like(values, 0.5)
    times = torch.zeros(256, dtype=torch.long)
    found = diffusion_loss(Fixed(said, logits), values, told(256), noise, times)
    mass = torch.exp2((said - noise).square().mean(1) - found)
    assert float(mass.sum()) == pytest.approx(1.0, abs=1e-6)
    law = WHOLE.kernel(0, state[:1], said[:1], logits[:1])
    normal = Normal(law.mean[0], law.std[0])
    upper, lower = normal.cdf(values + 1 / 255), normal.cdf(values - 1 / 255)
    upper[-1], lower[0] = 1.0, 0.0
    assert torch.allclose(mass, (upper - lower).squeeze(-1), atol=5e-4)


def test_analytic_head_has_the_least_error_on_its_data() -> None:
    rows = 20_000
    tokens, noise = 0.5 + 0.8 * numbers(5, rows, 1), numbers(6, rows, 1)
    times = torch.arange(rows) % 999 + 1
    condition = told(rows)

    def loss(mean: float, std: float) -> float:
        head = AnalyticHead(1, mean, std, share=0.0)
        return float(diffusion_loss(head, tokens, condition, noise, times).mean())

    best = loss(0.5, 0.8)
    assert all(best < loss(mean, std) for mean, std in ((0.3, 0.8), (0.5, 0.5), (0.5, 1.2)))


def test_other_numbers_of_steps() -> None:
    tokens, noise = numbers(0, 2, 3), numbers(1, 2, 3)
    head = Fixed(noise, torch.full_like(noise, -1.0))
    found = diffusion_loss(head, tokens, told(2), noise, torch.tensor([3, 9]), base_steps=10)
    assert head.seen is not None
    level = DiffusionProcess(10, 10).alphas_cumprod[[3, 9]].unsqueeze(-1)
    assert torch.allclose(head.seen[0], level.sqrt() * tokens + (1 - level).sqrt() * noise)
    assert torch.allclose(found, torch.zeros(2, dtype=torch.float64), atol=1e-9)
