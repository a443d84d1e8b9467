"""The running average of a model's weights, which is what an embedded diffusion model ends as."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

_SOON = 10.0


class RunningAverage(AveragedModel):
    """Follows a model by an exponential average; the first update copies its weights.

    Args:
        model: What is averaged; copied, never changed.
        decay: Of the average, per step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=self._follow)
        self.requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def _follow(
        self,
        averaged: tuple[Tensor, ...] | list[Tensor],
        current: tuple[Tensor, ...] | list[Tensor],
        count: Tensor | int,
    ) -> None:
        # Shorter at first: the start must not stay in the average of a short run.
        share = 1 - min(self.decay, (1 + float(count)) / (_SOON + float(count)))
        torch._foreach_lerp_(averaged, current, share)
