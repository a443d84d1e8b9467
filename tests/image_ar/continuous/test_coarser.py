"""Noise of a coarser chain: still standard normal, and weighed as it moves the end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from image_ar.continuous.chain import Condition, Settled, denoise
from image_ar.continuous.drafter import coarser
from image_ar.continuous.process import DiffusionProcess

WIDTH = 3


class NormalHead:
    """The best denoiser of numbers that are normal around ``mean``; smallest variances."""

    width = WIDTH

    def __init__(self, process: DiffusionProcess, mean: float, spread: float) -> None:
        self.levels = dict(
            zip(process.timesteps.tolist(), process.alphas_cumprod.tolist(), strict=True)
        )
        self.mean, self.spread = mean, spread

    def under(self, condition: Condition) -> Settled:
        def answer(state: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
            level = self.levels[timestep]
            known = level**0.5 * self.spread**2 / (level * self.spread**2 + 1 - level)
            clean = self.mean + known * (state - level**0.5 * self.mean)
            noise = (state - level**0.5 * clean) / (1 - level) ** 0.5
            return noise, torch.full_like(noise, -1.0)

        return answer


def ends(process: DiffusionProcess, normals: Tensor, spread: float) -> Tensor:
    head = NormalHead(process, 0.4, spread)
    condition = Condition(torch.zeros(len(normals), 1, dtype=torch.float64))
    return denoise(head, process, condition, normals).last.mean


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("steps", [2, 5, 25])
def test_gains_are_how_far_the_noise_of_a_step_moves_the_end(steps: int, spread: float) -> None:
    process = DiffusionProcess(steps)
    still = torch.zeros(1, steps + 1, WIDTH, dtype=torch.float64)
    pushed = still.repeat(steps - 1, 1, 1)
    index = torch.arange(steps - 1)
    pushed[index, index + 1] = 1
    moved = ends(process, pushed, spread) - ends(process, still, spread)
    gains = process.noise_gains(spread)
    torch.testing.assert_close(moved, gains.unsqueeze(1).expand_as(moved), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [2, 4, 8, 24])
def test_the_sums_are_independent_standard_normals_of_runs_of_steps(steps: int) -> None:
    gains = DiffusionProcess(25).noise_gains(0.07)
    # The map is linear: what it makes of each normal alone is its matrix.
    basis = torch.eye(26, dtype=torch.float64).unsqueeze(-1)
    matrix = coarser(basis, steps, gains).squeeze(-1).T
    assert matrix.shape == (steps + 1, 26)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(steps + 1, dtype=torch.float64))
    assert (matrix >= 0).all()
    assert matrix[0, 0] == matrix[-1, -1] == 1
    for row in matrix[1:-1]:
        taken = row.nonzero().flatten()
        assert (taken.diff() == 1).all()
        torch.testing.assert_close(
            row[taken] / row.max(), gains[taken - 1] / gains[taken - 1].max()
        )


def test_weighed_noise_tells_the_end_of_the_fine_chain_and_noise_weighed_alike_does_not() -> None:
    fine, spread = DiffusionProcess(25), 0.07
    generator = torch.Generator().manual_seed(0)
    normals = torch.randn(500, 26, WIDTH, generator=generator, dtype=torch.float64)
    end = (ends(fine, normals, spread) - 0.4)[:, 0]
    left = []
    for gains in (fine.noise_gains(spread), torch.ones(24, dtype=torch.float64)):
        told = coarser(normals, 4, gains)[..., 0]
        fit = torch.linalg.lstsq(told, end.unsqueeze(1)).solution
        left.append(float((end - (told @ fit)[:, 0]).norm() / end.norm()))
    assert left[0] < 1e-9
    assert left[1] > 0.3


def test_as_many_steps_change_nothing_and_more_are_refused() -> None:
    normals = torch.randn(2, 6, WIDTH)
    gains = DiffusionProcess(5).noise_gains(0.1)
    assert coarser(normals, 5, gains) is normals
    with pytest.raises(ValueError, match="draft_steps"):
        coarser(normals, 6, gains)
