"""Everything that decides how an image drafter is trained, and its shape for a target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from image_ar.discrete.eagle.network import ImageEagleConfig

_HEAD = 64  # channels of a head, as in LlamaGen's models


@dataclass(frozen=True)
class Recipe:
    """Options of :func:`image_ar.discrete.eagle.trainer.train`.

    Attributes:
        steps: Optimiser steps.
        batch: Pictures a step.
        rate: Peak learning rate.
        warmup: Steps until it is reached; over the last half of the steps it falls to 0.
        depth: Depths of the self-rollout; 1 is EAGLE-1's teacher forcing.
        decay: Weight of a depth relative to the one before.
        feature_weight: Weight of the regression on hidden states relative to the cross-entropy.
        dropped: Share of pictures that are read without their condition, for guidance.
        weight_decay: Of both optimisers.
        clip: Largest gradient norm.
        seed: Start values, order of pictures, and what is drawn.
        held_out: Pictures kept for measuring.
        measure_every: Steps between measurements on them.
        save_every: Steps between checkpoints.
        log_every: Steps between log lines.
    """

    steps: int = 2000
    batch: int = 8
    rate: float = 5e-4
    warmup: int = 30
    depth: int = 4
    decay: float = 0.8
    feature_weight: float = 1.0
    dropped: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    held_out: int = 32
    measure_every: int = 500
    save_every: int = 100
    log_every: int = 10

    def __post_init__(self) -> None:
        turns = ("measure_every", "save_every", "log_every")
        for name in ("steps", "batch", "depth", "held_out", *turns):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"rate must be above 0, got {self.rate}")
        if not 0 <= self.dropped < 1:
            raise ValueError(f"dropped must be 0 or above and below 1, got {self.dropped}")

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, constant, linear to 0 over the last half."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        return self.rate * min(1.0, (self.steps - step) / max(1.0, 0.5 * self.steps))


def config_for(target: Any, num_heads: int = 0, intermediate_size: int = 0) -> ImageEagleConfig:
    """The shape of a drafter for a target.

    Where the target has a fixed number of condition positions (``decoder.lead``), the drafter turns
    by cells, elsewhere by positions in the sequence.

    Args:
        target: A target over a grid of picture tokens.
        num_heads: Attention heads; 0 makes them 64 channels wide.
        intermediate_size: Width of the feed-forward part; 0 takes Llama's, 8/3 of the target's
            width rounded up to a multiple of 256.

    Raises:
        ValueError: Heads that do not divide the target's width, or a grid that is no square under
            a fixed number of condition positions.
    """
    lead, grid, hidden = getattr(target.decoder, "lead", None), target.grid, target.hidden_size
    if lead is not None and grid.rows != grid.columns:
        raise ValueError(
            f"an image drafter that turns by cells needs a square grid, this target's is "
            f"{grid.rows} x {grid.columns}"
        )
    return ImageEagleConfig(
        hidden_size=hidden,
        vocab_size=target.vocab_size,
        num_heads=num_heads or max(1, hidden // _HEAD),
        intermediate_size=intermediate_size or 256 * math.ceil(8 * hidden / 3 / 256),
        grid=grid.columns,
        lead=lead,
    )
