"""Shape of the embedded video autoencoder: 64 x 64 pixels, strides 8 in space and 4 in time."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.nn.utils import parametrize

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
# Size of a residual branch at the start, and logarithm of the posterior's variance: the decoder has
# something to read from the first step.
_BRANCH = 0.1
_FIRST_LOG_VARIANCE = -4.0
_MATRIX = "parametrizations.weight.original"
# Layers that face pixels or latents: no hidden matrices.
_OUTER = ("coder.conv_in", "coder.conv_out", "quant_conv")


class _AsMatrix(nn.Module):
    """A filter kept as a matrix of its output channels by everything else."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.view(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.contiguous().flatten(1)


def build_vae() -> AutoencoderKLWan:
    """An autoencoder that has learned nothing; signals keep their size through every layer.

    Filters inside are parametrised as matrices, which is how Muon takes them. Latents are left in
    the scale they come in.
    """
    unit = {"latents_mean": [0.0] * CHANNELS, "latents_std": [1.0] * CHANNELS}
    model = AutoencoderKLWan(**VAE_SHAPE, **unit)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))}
    for name, layer in layers.items():
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if name.endswith("conv2"):
            layer.weight.data.mul_(_BRANCH)
    with torch.no_grad():
        model.quant_conv.weight[CHANNELS:].zero_()
        model.quant_conv.bias[CHANNELS:] = _FIRST_LOG_VARIANCE
    for name, layer in layers.items():
        if not any(word in name for word in _OUTER):
            parametrize.register_parametrization(layer, "weight", _AsMatrix(layer.weight.shape))
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
    shapes = {name: weight.shape for name, weight in plain.state_dict().items()}
    weights = {name.replace(_MATRIX, "weight"): weight for name, weight in vae.state_dict().items()}
    plain.load_state_dict({name: weights[name].view(shapes[name]) for name in shapes})
    return plain.requires_grad_(False).eval()
