"""Shape of the embedded KL tokenizer: 64 x 64 pixels to 8 x 8 vectors of 16 numbers."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL

from adapters.mar.vae import LatentVAE
from adapters.tiny.filters import copy_filters, hold_as_matrices, start_filters
from adapters.tiny.images.pictures import SIDE

CHANNELS = 16
STRIDE = 8
GRID_SIDE = SIDE // STRIDE
CELLS = GRID_SIDE**2
_LEVELS = 4
VAE_SHAPE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * _LEVELS,
    "up_block_types": ("UpDecoderBlock2D",) * _LEVELS,
    "block_out_channels": (12, 24, 40, 48),
    "layers_per_block": 1,
    "latent_channels": CHANNELS,
    "norm_num_groups": 4,
    "sample_size": SIDE,
    "mid_block_add_attention": False,
}


def build_vae() -> AutoencoderKL:
    """A tokenizer that has learned nothing; signals keep their size through every layer.

    Filters inside are parametrised as matrices, which is how Muon takes them.
    """
    model = AutoencoderKL(**VAE_SHAPE)
    start_filters(model, CHANNELS)
    model = model.to(memory_format=torch.channels_last)
    hold_as_matrices(model)
    return model


def plain_vae(vae: AutoencoderKL, scale: float) -> LatentVAE:
    """A copy with ordinary filters.

    Args:
        vae: From :func:`build_vae`; not changed.
        scale: What latents are multiplied with, so that their variance is one.
    """
    plain = AutoencoderKL(**{**VAE_SHAPE, "scaling_factor": scale})
    copy_filters(vae, plain)
    return LatentVAE(plain).eval()
