"""A diffusion head whose output law is known: it predicts the noise of Gaussian data exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from image_ar.continuous.chain import (
    ChainHead,
    Condition,
    FinalNoise,
    Settled,
    denoise,
    settle,
)
from image_ar.continuous.process import DiffusionProcess


class AnalyticHead:
    """Exact noise for data with independent dimensions ``N(mean + vectors @ slope, std^2)``.

    Args:
        width: Numbers of a vector.
        mean: Of the data where the condition is zero.
        std: Of the data.
        slope: ``(size, width)`` how the mean follows the condition; None leaves it constant.
        share: Where the predicted variance lies between its bounds, 0 to 1.
        base_steps: Steps of the process.
    """

    def __init__(
        self,
        width: int,
        mean: float = 0.5,
        std: float = 0.8,
        slope: Tensor | None = None,
        share: float = 0.5,
        base_steps: int = 1000,
    ) -> None:
        self.width, self.mean, self.std, self.slope = width, mean, std, slope
        self.logit = 2 * share - 1
        self.levels = DiffusionProcess(base_steps, base_steps).alphas_cumprod
        self.calls = 0
        self.rows = 0

    def __call__(
        self, state: Tensor, timestep: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        if condition.scale is not None:
            raise ValueError("the analytic head knows no guidance")
        self.calls, self.rows = self.calls + 1, self.rows + len(state)
        mean = self.means(condition.vectors).to(state.dtype)
        level = self.levels[timestep].unsqueeze(-1).to(state.dtype)
        spread = level * self.std**2 + 1 - level
        noise = (1 - level).sqrt() * (state - level.sqrt() * mean) / spread
        return noise, torch.full_like(state, self.logit)

    def under(self, condition: Condition) -> Settled:
        def settled(state: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
            told = torch.full((len(state),), timestep)
            return self(state, told, condition.select(slice(len(state))))

        return settled

    def means(self, vectors: Tensor) -> Tensor:
        """Mean of the data ``(rows, width)`` under conditions ``(rows, size)``."""
        if self.slope is None:
            return torch.full((len(vectors), self.width), self.mean, dtype=vectors.dtype)
        return self.mean + vectors @ self.slope.to(vectors.dtype)


def response(
    head: ChainHead,
    process: DiffusionProcess,
    condition: Tensor,
    temperature: float = 1.0,
    final_noise: FinalNoise = "none",
) -> tuple[Tensor, Tensor]:
    """How a chain of an affine head depends on its normals: ``x_0 = offset + weights . normals``.

    Args:
        head: Acts on every dimension alone.
        process: Its steps.
        condition: ``(size,)``.
        temperature: Of every step.
        final_noise: Of the last step.

    Returns:
        Offset ``(width,)`` and weights ``(steps + 1, width)``: the output's law is normal with that
        mean and the weights' norm as standard deviation.
    """
    count = process.steps + 1
    normals = torch.cat([torch.zeros(1, count), torch.eye(count)]).double()
    normals = normals.unsqueeze(-1).expand(-1, -1, head.width)
    told = Condition(condition.double().expand(count + 1, -1))
    last = denoise(head, process, told, normals, temperature).last
    ends = settle(last, final_noise, normals[:, -1])
    return ends[0], ends[1:] - ends[0]
