"""Noise levels, steps and frame counts, with the numbers of the released programs."""

from __future__ import annotations

import pytest
import torch

from video_ar.schedule import (
    Schedule,
    few_steps,
    latent_frames,
    nearest_sigma,
    pixel_frames,
    renoise,
    sigma_grid,
    tokens_per_frame,
    warped_steps,
    x0_from_velocity,
)


def test_the_grid_of_the_released_models() -> None:
    grid = sigma_grid(5.0)
    assert len(grid) == 1000
    assert grid[0] == 1
    assert (grid.diff() < 0).all()
    assert float(grid[-1]) == pytest.approx(5 * 0.001 / 1.004)
    assert float(grid[-1]) == pytest.approx(0.0049801, abs=1e-7)
    assert torch.equal(sigma_grid(1.0), torch.linspace(1, 0, 1001, dtype=torch.float64)[:-1])


def test_warped_steps_of_the_released_models() -> None:
    grid = sigma_grid(5.0)
    warped = warped_steps([1000, 750, 500, 250, 0], grid)
    assert warped == pytest.approx([1000, 937.5, 833.3333333, 625, 0])


def test_sigmas_are_looked_up_at_the_nearest_level() -> None:
    grid = sigma_grid(5.0)
    for index in (0, 1, 500, 998, 999):
        assert nearest_sigma(1000 * float(grid[index]), grid) == float(grid[index])
    assert nearest_sigma(0.0, grid) == float(grid[-1])
    high, low = 1000 * float(grid[700]), 1000 * float(grid[701])
    assert nearest_sigma(0.51 * high + 0.49 * low, grid) == float(grid[700])
    assert nearest_sigma(0.49 * high + 0.51 * low, grid) == float(grid[701])


def test_schedules_of_self_forcing_krea_and_causvid() -> None:
    four = few_steps()
    assert four.timesteps == pytest.approx([1000, 937.5, 833.3333333, 625])
    assert four.sigmas == pytest.approx([1, 0.9375, 0.8333333, 0.625])
    assert few_steps([1000, 750, 500, 250, 0]) == four
    five = few_steps(final_zero_step=True)
    assert five.timesteps == (*four.timesteps, 0.0)
    assert five.sigmas[-1] == pytest.approx(0.0049801, abs=1e-7)
    causvid = few_steps([1000, 757, 522, 0], shift=8.0, warp=False)
    assert causvid.timesteps == (1000, 757, 522)
    # Neighbouring levels of the grid lie closer than two thousandths there.
    assert causvid.sigmas == pytest.approx([1, 0.757, 0.522], abs=1e-3)


def test_velocity_and_noise_go_back_and_forth() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(2, 3, 4, generator=generator) for _ in range(2))
    for sigma in few_steps(final_zero_step=True).sigmas:
        noisy = renoise(x0, noise, sigma)
        torch.testing.assert_close(x0_from_velocity(noisy, noise - x0, sigma), x0)
    assert torch.equal(renoise(x0, noise, 1.0), noise)
    assert torch.equal(x0_from_velocity(noise, noise - x0, 0.0), noise)


def test_formats_are_kept_and_float64_is_used_inside() -> None:
    noisy, velocity = torch.full((1,), 30000.0), torch.full((1,), 29999.0)
    exact = 30000.0 - 0.8333333333 * 29999.0
    assert x0_from_velocity(noisy, velocity, 0.8333333333).item() == pytest.approx(exact, rel=1e-7)
    half = torch.ones(3, dtype=torch.bfloat16)
    assert x0_from_velocity(half, half, 0.5).dtype == torch.bfloat16
    assert renoise(half, half, 0.5).dtype == torch.bfloat16


def test_frames() -> None:
    pairs = {1: 1, 5: 2, 9: 3, 13: 4, 81: 21, 105: 27}
    assert {pixels: latent_frames(pixels) for pixels in pairs} == pairs
    assert {pixel_frames(latent): latent for latent in pairs.values()} == pairs
    blocks = [pixel_frames(3, start) for start in range(0, 27, 3)]
    assert blocks == [9] + [12] * 8
    assert sum(blocks) == 105
    assert pixel_frames(0) == 0
    assert tokens_per_frame(480 // 8, 832 // 8) == 1560
    assert 21 * 1560 == 32760


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: latent_frames(82), "use 81 or 85"),
        (lambda: latent_frames(0), "use 1 or 5"),
        (lambda: tokens_per_frame(60, 103), "60 x 103"),
        (lambda: sigma_grid(0.0), "not 0.0"),
        (lambda: warped_steps([1001], sigma_grid()), "1001"),
        (lambda: warped_steps([1.5], sigma_grid()), "1.5"),  # type: ignore[list-item]
        (lambda: few_steps([250, 500]), "fall"),
        (lambda: few_steps([]), "at least one"),
        (lambda: few_steps([0]), "at least one"),
        (lambda: few_steps([1000, 0, 500]), "fall|between 0"),
        (lambda: few_steps([1200], warp=False), "between 0"),
        (lambda: Schedule((1000.0,), (1.0, 0.5)), "1 and 2"),
    ],
)
def test_user_errors_say_what_to_do(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
