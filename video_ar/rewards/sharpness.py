"""Scores of single frames from pixels alone: no weights, no prompt, deterministic."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

_LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


class _Still:
    """What these scorers have in common."""

    needs_prompt = False
    context = 0


@dataclass(frozen=True)
class Sharpness(_Still):
    """Variance of the Laplacian of brightness: falls as a video blurs over its blocks."""

    name = "sharpness"

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """``(F,)`` float32, at least 0."""
        light = frames.float().mean(1, keepdim=True)
        edges = F.conv2d(light, light.new_tensor(_LAPLACE)[None, None])
        return edges.var((1, 2, 3), correction=0)


@dataclass(frozen=True)
class NegativeTotalVariation(_Still):
    """Minus the mean absolute difference of neighbouring pixels: falls as a video grows noisy."""

    name = "negative-total-variation"

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """``(F,)`` float32, in [-2, 0]."""
        frames = frames.float()
        across = (frames[..., 1:] - frames[..., :-1]).abs().mean((1, 2, 3))
        down = (frames[..., 1:, :] - frames[..., :-1, :]).abs().mean((1, 2, 3))
        return -(across + down)
