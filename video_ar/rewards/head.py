"""The head that ImageReward and the LAION aesthetic predictor share."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

_WIDTHS = (1024, 128, 64, 16, 1)


class LinearHead(nn.Module):
    """``width -> 1024 -> 128 -> 64 -> 16 -> 1`` without nonlinearities.

    In training there is dropout at 1, 3 and 5, hence the released names ``layers.{0,2,4,6,7}``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (width, *_WIDTHS)
        linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        between = [nn.Identity() for _ in range(3)]
        first = [part for pair in zip(linear[:3], between, strict=True) for part in pair]
        self.layers = nn.Sequential(*first, *linear[3:])

    def forward(self, features: Tensor) -> Tensor:
        """From ``(..., width)`` to ``(...)``."""
        score: Tensor = self.layers(features)
        return score.squeeze(-1)
