"""Shapes of the video autoencoders: 64 x 64 pixels, strides 8 in space and 4 in time.

The first one makes the latents. The quick one has the same latents and a third of the cost, and is
the embedded one: it works on patches of 2 x 2 pixels, as Wan 2.2's does.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from adapters.tiny.filters import copy_filters, hold_as_matrices, start_filters
from adapters.wan.narrow import hasten_narrow

CHANNELS = 12
SIDE, STRIDE = 64, 8
GRID_SIDE = SIDE // STRIDE
FIRST_SHAPE: dict[str, Any] = {
    "base_dim": 8,
    "z_dim": CHANNELS,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
}
_PATCH = 2
QUICK_SHAPE: dict[str, Any] = {
    "base_dim": 16,
    "z_dim": CHANNELS,
    "dim_mult": [1, 1, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "patch_size": _PATCH,
    "in_channels": 3 * _PATCH**2,
    "out_channels": 3 * _PATCH**2,
}


def build_vae(shape: dict[str, Any]) -> AutoencoderKLWan:
    """An autoencoder that has learned nothing; signals keep their size through every layer.

    Filters inside are parametrised as matrices, which is how Muon takes them. Latents are left in
    the scale they come in.

    Args:
        shape: Arguments of the class.
    """
    model = AutoencoderKLWan(**shape, **_scale(torch.zeros(CHANNELS), torch.ones(CHANNELS)))
    start_filters(model, CHANNELS)
    hasten_narrow(model)
    hold_as_matrices(model)
    return model


def plain_vae(vae: AutoencoderKLWan, mean: Tensor, std: Tensor) -> AutoencoderKLWan:
    """A copy with ordinary filters.

    Args:
        vae: From :func:`build_vae`; not changed.
        mean: Of each latent channel, ``(channels,)``.
        std: Its standard deviation; normalised latents have mean 0 and deviation 1.
    """
    plain = AutoencoderKLWan.from_config(vae.config, **_scale(mean, std))
    copy_filters(vae, plain)
    return plain.requires_grad_(False).eval()


def _scale(mean: Tensor, std: Tensor) -> dict[str, list[float]]:
    return {"latents_mean": mean.tolist(), "latents_std": std.tolist()}
