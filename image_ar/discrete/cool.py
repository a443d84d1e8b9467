"""COOL-SD: acceptance is multiplied by a weight that cools down along the draft."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from image_ar.discrete.relaxation import Odds, Relaxation
from mmspec.options import check_values, real
from mmspec.rules.certificate import Certificate

CHECKS = {"delta": real(1.0), "nu": real(0.0), "mu": real(0.0)}


@dataclass(frozen=True)
class AnnealedRelaxation(Relaxation):
    """COOL-SD (arXiv 2601.09212): ``min(1, w_i p(x) / q(x))`` with a weight for every depth ``i``.

    ``w_i = max(1, delta exp(-nu i - mu))``, largest at the start of a draft, where a refusal costs
    most. Weights are clipped at 1 because less would refuse more than the exact rule does, without
    making anything more exact. The paper calls ``mu`` a normaliser and leaves its value open; here
    it is an option, and the default 0 makes ``delta`` the weight of the first drafted unit.

    Attributes:
        delta: Weight at depth 0 while ``mu`` is 0, at least 1; 1 is exact.
        nu: How fast the weights cool down, at least 0; 0 gives every depth the same weight.
        mu: Divides all weights by ``exp(mu)``, at least 0.

    Raises:
        ValueError: An option outside its range.
    """

    delta: float
    nu: float = 0.7
    mu: float = 0.0

    name = "cool"
    residuals = ("optimal", "plain")
    never_below = True

    def __post_init__(self) -> None:
        check_values(CHECKS, vars(self))

    @property
    def certificate(self) -> Certificate:
        most = float(self.weight(0, 1.0)) - 1
        if most <= 0:
            return Certificate("exact", "all weights are 1, which leaves the exact rule")
        if most >= 1:
            return Certificate(
                "lossy",
                f"weights up to {most + 1:.3g} bound the distance of the output law only below 2; "
                "the bias of every judged position is reported",
            )
        return Certificate(
            "bounded",
            f"every unit tried moves the output law by at most {most:.3g} in total variation, less "
            "at later depths, and the steps of an image add up",
        )

    def weight(self, depth: Tensor | int, slack: float) -> Tensor:
        """``1 + (w_i - 1) slack`` in float32, shaped like ``depth``."""
        steps = torch.as_tensor(depth).double()
        full = (self.delta * torch.exp(-self.nu * steps - self.mu)).clamp(min=1.0)
        return (1 + (full - 1) * slack).float()

    def odds(self, p: Tensor, q: Tensor, units: Tensor, depth: Tensor | int, slack: float) -> Odds:
        """Pure."""
        weight = self.weight(depth, slack).to(p.device)
        return Odds(p.gather(-1, units) * weight.unsqueeze(-1), q.gather(-1, units))
