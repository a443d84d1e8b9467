"""A tiny tokenizer and tiny MAR shapes, for trainings that must be over at once."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.mar.config import MARConfig
from adapters.tiny.latents import mar_shape, vae_shape

VAE: dict[str, Any] = {**vae_shape.VAE_SHAPE, "block_out_channels": (4, 4, 4, 8)}
SIZES = {
    "causal": {"variant": "causal", "decoder_depth": 2},
    "draft": {"variant": "causal", "decoder_depth": 1},
    "masked": {
        "variant": "masked",
        "encoder_width": 16,
        "encoder_heads": 2,
        "encoder_depth": 1,
        "decoder_depth": 1,
    },
}


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Make the builders build small models."""
    patch.setattr(vae_shape, "VAE_SHAPE", VAE)
    patch.setattr(mar_shape, "WIDTH", 16)
    patch.setattr(mar_shape, "HEADS", 2)
    head = {"head_blocks": 1, "head_width": 16}
    patch.setattr(mar_shape, "_SIZES", {kind: {**size, **head} for kind, size in SIZES.items()})


def small_config(kind: str, **change: Any) -> MARConfig:
    """A shape of few cells."""
    values: dict[str, Any] = {
        **SIZES[kind],
        "rows": 2,
        "columns": 3,
        "channels": 4,
        "decoder_width": 16,
        "decoder_heads": 2,
        "head_blocks": 1,
        "head_width": 16,
        "buffer": 2,
        "classes": 3,
        "dropout": 0.0,
    }
    return MARConfig(**{**values, **change})
