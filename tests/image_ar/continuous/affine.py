"""A model of latent vectors whose law is known: each mean is affine in the vector before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from image_ar.continuous.chain import Condition
from image_ar.continuous.decoding import LatentState
from image_ar.continuous.process import DiffusionProcess
from image_ar.continuous.request import Denoising, LatentRequest
from mmspec.noise import Noise
from tests.image_ar.continuous.analytic import AnalyticHead


class AffineDecoder:
    """Data ``N(mean + slope * previous, std^2)`` in every dimension; the first one's previous is 0.

    Args:
        cells: Vectors of a picture.
        width: Numbers of a vector.
        mean: See above.
        slope: See above.
        std: See above.
        share: Where the head's variance lies between its bounds.
    """

    base_steps = 1000
    latent_range = None

    def __init__(
        self,
        cells: int = 2,
        width: int = 1,
        mean: float = 0.5,
        slope: float = 0.5,
        std: float = 0.8,
        share: float = 0.5,
    ) -> None:
        self.cells, self.width = cells, width
        self.head = AnalyticHead(width, mean, std, slope * torch.eye(width), share)
        self.passes = 0

    def head_for(self, process: DiffusionProcess) -> Any:
        return self.head

    def layout(self, noise: Noise, ar_steps: int | None) -> Tensor:
        return torch.arange(self.cells).view(1, -1, 1).expand(len(noise.seeds), -1, -1)

    def prefill(
        self, inputs: Mapping[str, Any], layout: Tensor, capacity: int
    ) -> tuple[None, Condition]:
        self.passes += 1
        return None, Condition(torch.zeros(len(layout), self.width))

    def conditions(self, state: LatentState, units: Tensor) -> Condition:
        self.passes += 1
        before = torch.cat([state.last(1), units.to(state.vectors.dtype)], 1)
        return Condition(before.reshape(-1, self.width))

    def window_conditions(self, state: LatentState, nodes: int) -> Condition:
        self.passes += 1
        return Condition(state.last(1).expand(-1, nodes, -1, -1).reshape(-1, self.width))


def request(
    decoder: AffineDecoder, rows: int = 1, steps: int = 5, temperature: float = 1.0
) -> LatentRequest:
    """``rows`` pictures of class 0."""
    inputs = {"labels": torch.zeros(rows, dtype=torch.long)}
    return LatentRequest(inputs, decoder.cells, Denoising(steps, temperature))


def stacked(rows: Sequence[Sequence[Sequence[float]]]) -> Tensor:
    """``(pictures, cells, width)``."""
    return torch.tensor([list(row) for row in rows], dtype=torch.float64)
