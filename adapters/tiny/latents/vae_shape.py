"""Shape of the embedded KL tokenizer: 64 x 64 pixels to 8 x 8 vectors of 16 numbers."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.utils import parametrize

from adapters.mar.vae import LatentVAE
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
        return matrix.view(self.shape).contiguous(memory_format=torch.channels_last)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.contiguous().flatten(1)


def build_vae() -> AutoencoderKL:
    """A tokenizer that has learned nothing; signals keep their size through every layer.

    Filters inside are parametrised as matrices, which is how Muon takes them.
    """
    model = AutoencoderKL(**VAE_SHAPE)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    for name, layer in layers.items():
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if name.endswith("conv2"):
            layer.weight.data.mul_(_BRANCH)
    with torch.no_grad():
        model.quant_conv.weight[CHANNELS:].zero_()
        model.quant_conv.bias[CHANNELS:] = _FIRST_LOG_VARIANCE
    model = model.to(memory_format=torch.channels_last)
    for name, layer in layers.items():
        if not any(word in name for word in _OUTER):
            parametrize.register_parametrization(layer, "weight", _AsMatrix(layer.weight.shape))
    return model


def plain_vae(vae: AutoencoderKL, scale: float) -> LatentVAE:
    """A copy with ordinary filters.

    Args:
        vae: From :func:`build_vae`; not changed.
        scale: What latents are multiplied with, so that their variance is one.
    """
    plain = AutoencoderKL(**{**VAE_SHAPE, "scaling_factor": scale})
    shapes = {name: weight.shape for name, weight in plain.state_dict().items()}
    weights = {name.replace(_MATRIX, "weight"): weight for name, weight in vae.state_dict().items()}
    plain.load_state_dict({name: weights[name].view(shapes[name]) for name in shapes})
    return LatentVAE(plain).eval()
