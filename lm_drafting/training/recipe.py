"""Everything that decides how a drafter is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lm_drafting.training.losses import Objective


@dataclass(frozen=True)
class Recipe:
    """Options of :func:`lm_drafting.training.trainer.train`.

    Attributes:
        steps: Optimiser steps.
        batch: Samples a pass.
        accumulate: Passes a step.
        rate: Peak learning rate.
        warmup: Steps until it is reached; a cosine brings it to a tenth afterwards.
        depth: Depths of the self-rollout; 1 is EAGLE-1's teacher forcing.
        decay: Weight of a depth relative to the one before.
        feature_weight: Weight of the regression on hidden states.
        logit_weight: Weight of the cross-entropy against the target's law.
        distance_weight: Weight of the distance between the two laws (ViSpec).
        ranking_weight: Weight of the target's ranking of its ten best tokens (ViSpec).
        token_weight: Price of a visual token that an elastic compressor keeps (SpecVLM).
        feature_noise: Half width of uniform noise on the target's hidden states (EAGLE-1).
        weight_decay: AdamW's.
        clip: Largest gradient norm.
        bf16: Run the drafter's passes in bfloat16 autocast.
        seed: Start values, order of samples, noise and sampled answers.
        max_new_tokens: Longest answer of the target.
        temperature: How its answers are drawn; 0 takes its greedy ones.
        held_out: Samples kept for measuring.
        measure_every: Steps between measurements on them.
        measure_depth: Draft length of those measurements.
        save_every: Steps between checkpoints.
        log_every: Steps between log lines.
        cache_features_mb: Memory for features of the target that are kept between epochs.
    """

    steps: int = 1000
    batch: int = 8
    accumulate: int = 1
    rate: float = 1e-3
    warmup: int = 50
    depth: int = 3
    decay: float = 0.8
    feature_weight: float = 0.2
    logit_weight: float = 1.0
    distance_weight: float = 0.0
    ranking_weight: float = 0.0
    token_weight: float = 0.0
    feature_noise: float = 0.0
    weight_decay: float = 0.01
    clip: float = 1.0
    bf16: bool = False
    seed: int = 0
    max_new_tokens: int = 256
    temperature: float = 0.0
    held_out: int = 32
    measure_every: int = 200
    measure_depth: int = 6
    save_every: int = 100
    log_every: int = 10
    cache_features_mb: float = 1024

    def __post_init__(self) -> None:
        sizes = "steps batch accumulate depth held_out max_new_tokens"
        turns = "measure_every measure_depth save_every log_every"
        for name in f"{sizes} {turns}".split():
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.rate <= 0 or self.temperature < 0:
            raise ValueError(
                f"rate must be above 0 and temperature 0 or above, got {self.rate} and "
                f"{self.temperature}"
            )

    @property
    def objective(self) -> Objective:
        """The weights of the loss."""
        return Objective(
            feature=self.feature_weight,
            entropy=self.logit_weight,
            distance=self.distance_weight,
            ranking=self.ranking_weight,
            tokens=self.token_weight,
            decay=self.decay,
        )

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then a cosine down to a tenth of the peak."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.rate * (0.55 + 0.45 * math.cos(math.pi * min(share, 1.0)))
