"""Shape of the embedded video autoencoder: 64 x 64 pixels, strides 8 in space and 4 in time."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKLWan
from torch import Tensor

from adapters.tiny.filters import copy_filters, hold_as_matrices, start_filters

CHANNELS = 12
SIDE, STRIDE = 64, 8
GRID_SIDE = SIDE // STRIDE
VAE_SHAPE: dict[str, Any] = {
    "base_dim": 8,
    "z_dim": CHANNELS,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
}


def build_vae() -> AutoencoderKLWan:
    """An autoencoder that has learned nothing; signals keep their size through every layer.

    Filters inside are parametrised as matrices, which is how Muon takes them. Latents are left in
    the scale they come in.
    """
    unit = {"latents_mean": [0.0] * CHANNELS, "latents_std": [1.0] * CHANNELS}
    model = AutoencoderKLWan(**VAE_SHAPE, **unit)
    start_filters(model, CHANNELS)
    hold_as_matrices(model)
    return model


def plain_vae(vae: AutoencoderKLWan, mean: Tensor, std: Tensor) -> AutoencoderKLWan:
    """A copy with ordinary filters.

    Args:
        vae: From :func:`build_vae`; not changed.
        mean: Of each latent channel, ``(channels,)``.
        std: Its standard deviation; normalised latents have mean 0 and deviation 1.
    """
    scale = {"latents_mean": mean.tolist(), "latents_std": std.tolist()}
    plain = AutoencoderKLWan(**VAE_SHAPE, **scale)
    copy_filters(vae, plain)
    return plain.requires_grad_(False).eval()
