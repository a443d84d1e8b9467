"""What to generate latent vectors from, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from image_ar.continuous.chain import FinalNoise
from mmspec.noise import Noise

Reads = Literal["endpoints", "paths"]
Conditioning = Literal["prefix", "window"]


@dataclass(frozen=True)
class Denoising:
    """How one vector is drawn once its condition is known.

    Attributes:
        steps: Denoising steps, at least 2.
        temperature: Factor on the noise of every step; 1 is the law that was learned.
        final_noise: Noise of the last step: none as MAR does, the model's own, or a number. A rule
            that speaks of another law than the usual one sets it.

    Raises:
        ValueError: Too few steps, or a negative temperature.
    """

    steps: int = 100
    temperature: float = 1.0
    final_noise: FinalNoise = "none"

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"num_inference_steps must be at least 2, got {self.steps}")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be 0 or above, got {self.temperature}")


@dataclass(frozen=True)
class LatentRequest:
    """Satisfies :class:`mmspec.roles.Request`.

    Attributes:
        inputs: What the decoder conditions on; ``labels`` ``(batch,)`` is among it.
        cells: Vectors of a picture.
        denoising: How vectors are drawn.
        ar_steps: Autoregressive steps in which a masked model fills a picture; None is one a cell.
        reads: What the rule compares: ends of denoising chains, or all of their kernels.
        conditioning: Whether a drafted vector is judged given the drafted ones before it
            (``prefix``), or given the committed ones alone (``window``).
        lookahead: Most nodes any draft will have; sizes caches.
        noise: All randomness of the run.
    """

    inputs: Mapping[str, Any]
    cells: int
    denoising: Denoising = field(default_factory=Denoising)
    ar_steps: int | None = None
    reads: Reads = "endpoints"
    conditioning: Conditioning = "prefix"
    lookahead: int = 0
    noise: Noise | None = None

    @property
    def rows(self) -> int:
        """Pictures."""
        return len(self.inputs["labels"])

    @property
    def device(self) -> torch.device:
        """Where the conditions are."""
        device: torch.device = self.inputs["labels"].device
        return device

    @property
    def horizon(self) -> int:
        """Vectors of a picture."""
        return self.cells

    @property
    def greedy(self) -> bool:
        """Never: a vector has no most likely value that could be chosen."""
        return False

    def brief(self, count: int) -> LatentRequest:
        """The same: a picture of vectors cannot be cut short."""
        return self

    def under(self, drafter: Any, rule: Any, lookahead: int, noise: Noise) -> LatentRequest:
        """With the law and the evidence that a rule speaks of, and the noise that is shared."""
        return replace(
            self,
            denoising=replace(self.denoising, final_noise=rule.final_noise),
            reads=getattr(rule, "reads", "endpoints"),
            conditioning=getattr(rule, "conditioning", "prefix"),
            lookahead=max(self.lookahead, lookahead),
            noise=noise,
        )
