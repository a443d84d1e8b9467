"""Shapes of the embedded MAR models: a causal target, its small draft, and a masked target."""

from __future__ import annotations

from adapters.mar.config import CAUSAL, MASKED, MARConfig
from adapters.tiny.images.gpt_shape import CLASS_NAMES

from .vae_shape import CHANNELS, GRID_SIDE

DRAFT = "draft"
WIDTH, HEADS = 96, 4
_HEAD = {"head_blocks": 3, "head_width": 128}
_SIZES: dict[str, dict[str, int | str]] = {
    CAUSAL: {"variant": CAUSAL, "decoder_depth": 12, **_HEAD},
    DRAFT: {"variant": CAUSAL, "decoder_depth": 2, "head_blocks": 1, "head_width": 96},
    MASKED: {
        "variant": MASKED,
        "encoder_width": WIDTH,
        "encoder_heads": HEADS,
        "encoder_depth": 4,
        "decoder_depth": 4,
        **_HEAD,
    },
}


def mar_config(kind: str) -> MARConfig:
    """Return the shape of a model: ``causal``, ``draft`` or ``masked``."""
    return MARConfig.from_dict(
        {
            **_SIZES[kind],
            "rows": GRID_SIDE,
            "columns": GRID_SIDE,
            "channels": CHANNELS,
            "decoder_width": WIDTH,
            "decoder_heads": HEADS,
            "buffer": 4,
            "classes": len(CLASS_NAMES),
            # Latents of pictures lie within it. So small a head leaves the first steps of a
            # hundred an error of the noise that stands for hundreds of times that of the latents.
            "latent_range": 9.0,
            # A picture is seen a few times only: nothing to be gained from dropout.
            "dropout": 0.0,
        }
    )
