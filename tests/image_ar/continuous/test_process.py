"""The noise schedule and one denoising step against published numbers and diffusers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from image_ar.continuous.process import DiffusionProcess, cosine_betas

MAR = DiffusionProcess()


def test_constants_of_mars_hundred_steps() -> None:
    betas, levels = MAR.betas, MAR.alphas_cumprod
    assert betas[:3].tolist() == pytest.approx(
        [4.12842248e-05, 6.79840069e-04, 1.16551555e-03], rel=1e-7
    )
    assert betas[97:].tolist() == pytest.approx([0.55537562, 0.74993928, 0.99999], rel=1e-7)
    assert levels[[0, 99]].tolist() == pytest.approx([0.99995872, 2.42876691e-09], rel=1e-8)
    assert MAR.posterior_variance[:2].tolist() == pytest.approx([0, 3.89222259e-05], rel=1e-8)


def test_kept_steps() -> None:
    kept = MAR.timesteps.tolist()
    assert kept[:8] == [0, 10, 20, 30, 40, 50, 61, 71]
    assert kept[-6:] == [949, 959, 969, 979, 989, 999]
    assert DiffusionProcess(1000).timesteps.tolist() == list(range(1000))
    assert torch.allclose(DiffusionProcess(1000).betas, cosine_betas(1000), atol=1e-12)
    assert int(MAR.original(6)) == 61
    assert MAR.original(torch.tensor([[0, 99]])).tolist() == [[0, 999]]


@pytest.mark.parametrize(
    ("index", "low", "high"),
    [
        (0, 0.006239, 0.006425),
        (1, 0.00624, 0.02607),
        (2, 0.0211, 0.0341),
        (10, 0.0651, 0.0716),
        (50, 0.1818, 0.1849),
        (99, 0.99987, 0.99999),
    ],
)
def test_range_of_learned_spreads(index: int, low: float, high: float) -> None:
    zeros = torch.zeros(1, 1)
    for logit, expected in ((-1.0, low), (1.0, high)):
        law = MAR.kernel(index, zeros, zeros, torch.full((1, 1), logit))
        assert float(law.std) == pytest.approx(expected, rel=3e-3)
    between = MAR.kernel(index, zeros, zeros, zeros).log_std
    ends = [MAR.kernel(index, zeros, zeros, zeros + x).log_std for x in (-1.0, 1.0, 3.0)]
    assert torch.allclose(between, (ends[0] + ends[1]) / 2)
    assert torch.allclose(ends[2], ends[1] + (ends[1] - ends[0]))  # not clamped


def test_mean_is_the_posteriors_at_the_predicted_clean_vector() -> None:
    generator = torch.Generator().manual_seed(0)
    state, noise = torch.randn(2, 100, 3, generator=generator, dtype=torch.float64)
    index = torch.arange(100)
    level = MAR.alphas_cumprod.unsqueeze(-1)
    before = torch.cat([torch.ones(1, 1).double(), level[:-1]])
    beta = MAR.betas.unsqueeze(-1)
    clean = state / level.sqrt() - (1 / level - 1).sqrt() * noise
    expected = (beta * before.sqrt() * clean + (1 - before) * (1 - beta).sqrt() * state) / (
        1 - level
    )
    found = MAR.kernel(index, state, noise, torch.zeros_like(state))
    assert torch.allclose(found.mean, expected, rtol=1e-7, atol=1e-9)
    for i in (0, 1, 57, 99):
        one = MAR.kernel(i, state[i], noise[i], torch.zeros(3))
        assert torch.allclose(one.mean, found.mean[i])
        assert torch.allclose(one.log_std, found.log_std[i])


def test_temperature_scales_the_spread_alone() -> None:
    state = torch.tensor([[0.3, -1.0]])
    law = MAR.kernel(5, state, state / 2, state)
    cold = MAR.kernel(5, state, state / 2, state, temperature=0.9)
    assert torch.equal(law.mean, cold.mean)
    assert torch.allclose(cold.std, 0.9 * law.std)
    frozen = MAR.kernel(5, state, state / 2, state, temperature=0)
    assert torch.equal(frozen.draw(torch.ones(1, 2)), law.mean)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature"):
            MAR.kernel(5, state, state, state, temperature=wrong)


def test_agrees_with_diffusers_scheduler() -> None:
    """Its numbers are float32, and its last step has no variance."""
    scheduler = DDPMScheduler(
        1000,
        beta_schedule="squaredcos_cap_v2",
        variance_type="learned_range",
        clip_sample=False,
        timestep_spacing="linspace",
    )
    scheduler.set_timesteps(100)
    assert scheduler.timesteps.flip(0).tolist() == MAR.timesteps.tolist()
    assert torch.allclose(scheduler.betas.double(), cosine_betas(1000), rtol=1e-4)
    generator = torch.Generator().manual_seed(1)
    state, noise, logits = torch.randn(3, 2, 4, generator=generator)
    for index in (1, 2, 40, 90):
        said = torch.cat([noise, logits], 1)
        time = int(MAR.original(index))
        found = scheduler.step(said, time, state, generator=torch.Generator().manual_seed(2))
        law = MAR.kernel(index, state, noise, logits)
        normals = torch.randn(2, 4, generator=torch.Generator().manual_seed(2))
        assert torch.allclose(found.prev_sample, law.draw(normals), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("steps", [0, 1, 1001])
def test_numbers_of_steps_out_of_range_are_named(steps: int) -> None:
    with pytest.raises(ValueError, match="2 to 1000"):
        DiffusionProcess(steps)


def test_clipping_acts_on_the_clean_vector_alone() -> None:
    free, clipped = DiffusionProcess(20), DiffusionProcess(20, clip=2.0)
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(20)
    state = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    noise = 0.9 * state + 0.1 * torch.randn(20, 3, generator=generator, dtype=torch.float64)
    level = free.alphas_cumprod.unsqueeze(1)
    clean = state / level.sqrt() - (1 / level - 1).sqrt() * noise
    logits = torch.zeros_like(state)
    found = clipped.kernel(index, state, noise, logits)
    same = (clean.abs() <= 2).all(1)
    assert 3 < same.sum() < 20
    wanted = free.kernel(index, state, noise, logits)
    assert torch.allclose(found.mean[same], wanted.mean[same])
    assert torch.equal(found.log_std, wanted.log_std)
    # The noise that the clipped vector implies gives the same step without clipping.
    implied = (state - level.sqrt() * clean.clamp(-2, 2)) / (1 - level).sqrt()
    wanted = free.kernel(index, state, implied, logits)
    assert torch.allclose(found.mean, wanted.mean, atol=1e-9)
    for step in (0, 7, 19):
        one = clipped.kernel(step, state[step], noise[step], logits[step])
        assert torch.allclose(one.mean, found.mean[step])
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="clipped"):
            DiffusionProcess(20, clip=wrong)
