"""Rules for drafts of latent vectors whose promise is exact or bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from image_ar.continuous.chain import FinalNoise
from image_ar.continuous.gaussian import (
    MOST_CANDIDATES,
    GaussianStep,
    draw_residual,
    log_ratio,
    reflect,
    stays,
)
from image_ar.continuous.judging import EndpointRule, Own, Pair
from image_ar.continuous.stepwise import StepwiseCoupling
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate

__all__ = ["LastStepCoupling", "Own", "SmoothedCoupling", "StepwiseCoupling", "Tolerance"]


class LastStepCoupling(EndpointRule):
    """Shared noise in all steps but the last, and a maximal coupling of the last.

    Both chains get the same noise, so where they stand before the last step does not depend on what
    happens there. The drafted vector is then a draw from one Gaussian to be kept as a draw from the
    other: kept with probability ``min(1, p / q)``, else drawn from ``norm((p - q)+)``. The output
    has the target's law, with noise in its last step. What the two chains did before must not enter
    the ratio: with the published factor the law is another one.

    The last step of MAR is short (a standard deviation of 0.006), so this accepts next to nothing
    unless the models agree to about that distance.

    A correction that is not found within ``MOST_CANDIDATES`` candidates becomes the target's own
    vector, which adds at most 6e-6 to the total variation distance of a vector.
    """

    certificate = Certificate(
        "exact", "every vector has the law of the target with the noise of its final step on"
    )
    final_noise: FinalNoise = "learned"

    def test(self, pair: Pair, noise: Noise, slack: float) -> tuple[Tensor, Tensor]:
        """Log ratio of the two densities against one uniform a place."""
        ratio = log_ratio(pair.p, pair.q, pair.units)
        return stays(ratio, log_uniforms(pair, noise)), ratio

    def correct(self, pair: Pair, wanted: Tensor, noise: Noise) -> Tensor:
        """Draws from the residual law."""
        return residual_or_own(pair, wanted, noise, torch.zeros_like(pair.log_factor))


@dataclass(frozen=True)
class SmoothedCoupling(EndpointRule):
    """Both chains end with noise of one standard deviation, coupled by reflection.

    The target's law is declared to be its noiseless vector plus Gaussian noise; the draft ends
    alike. The maximal coupling of the two then has a closed form and keeps a vector with
    probability ``2 Phi(-d / (2 sigma_v))``, ``d`` being the distance of the noiseless vectors.

    Attributes:
        sigma_v: Standard deviation of that noise in every dimension, above 0.

    Raises:
        ValueError: A standard deviation that is not above 0.
    """

    sigma_v: float

    def __post_init__(self) -> None:
        if not 0 < self.sigma_v < math.inf:
            raise ValueError(f"sigma_v must be above 0, got {self.sigma_v}; 0.2 is a common choice")

    @property
    def final_noise(self) -> float:
        """The declared noise."""
        return self.sigma_v

    @property
    def certificate(self) -> Certificate:
        """Exact for the smoothed target."""
        return Certificate(
            "bounded",
            "every vector has the law of the target plus noise of standard deviation "
            f"{self.sigma_v:g}; given the prefix, a W2 distance of at most {self.sigma_v:g} * "
            "sqrt(width) from the target",
        )

    def test(self, pair: Pair, noise: Noise, slack: float) -> tuple[Tensor, Tensor]:
        """Log ratio of the smoothed densities against one uniform a place."""
        p, q = self._smoothed(pair)
        ratio = log_ratio(p, q, pair.units)
        return stays(ratio, log_uniforms(pair, noise)), ratio

    def correct(self, pair: Pair, wanted: Tensor, noise: Noise) -> Tensor:
        """Reflections."""
        return reflect(*self._smoothed(pair), pair.units)

    def _smoothed(self, pair: Pair) -> tuple[GaussianStep, GaussianStep]:
        spread = torch.full_like(pair.p.log_std, math.log(self.sigma_v))
        return replace(pair.p, log_std=spread), replace(pair.q, log_std=spread)


@dataclass(frozen=True)
class Tolerance(EndpointRule):
    """Keep a vector within ``delta`` of what the target makes from the same noise, else take that.

    Attributes:
        delta: Largest distance in the latent space, 0 or more; the plan's slack scales it.

    Raises:
        ValueError: A distance that is negative or not finite.
    """

    delta: float
    final_noise: ClassVar[FinalNoise] = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.delta < math.inf:
            raise ValueError(
                f"delta must be 0 or more and finite, got {self.delta}; 0 keeps only what equals "
                "the target's own vector"
            )

    @property
    def certificate(self) -> Certificate:
        """Exact at 0."""
        if not self.delta:
            return Certificate("exact", "every vector is the target's own, bit for bit")
        return Certificate(
            "bounded",
            f"every vector is within {self.delta:g} of a draw from the target, given the prefix "
            f"(W-infinity distance of at most {self.delta:g})",
        )

    def test(self, pair: Pair, noise: Noise, slack: float) -> tuple[Tensor, Tensor]:
        """Distance of the two vectors."""
        distance = (pair.units.double() - pair.own.double()).norm(dim=-1)
        return distance <= self.delta * slack, distance

    def correct(self, pair: Pair, wanted: Tensor, noise: Noise) -> Tensor:
        """The target's own vectors."""
        return pair.own

    def unit_score(self, pair: Pair, score: Tensor) -> Tensor:
        """The largest distance in a unit."""
        return torch.where(pair.places >= 0, score, 0.0).amax(-1)


def log_uniforms(pair: Pair, noise: Noise) -> Tensor:
    """Logarithm of one number a place ``(batch, nodes, group)``, of the ``accept`` stream."""
    return noise.uniforms("accept", pair.places).log()


def residual_or_own(
    pair: Pair, wanted: Tensor, noise: Noise, log_factor: Tensor, most: int = MOST_CANDIDATES
) -> Tensor:
    """Draws from ``norm((f p - q)+)``; the target's own vector where ``most`` candidates failed."""
    keys = noise.uniforms("residual", pair.places)
    values, found = draw_residual(pair.p, pair.q, keys, wanted, log_factor, most)
    return torch.where(found.unsqueeze(-1), values, pair.own)
