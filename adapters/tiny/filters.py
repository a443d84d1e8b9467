"""Filters of the embedded autoencoders: how they start, and matrices of them for Muon."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# Size of a residual branch at the start, and logarithm of the posterior's variance: the decoder has
# something to read from the first step.
_BRANCH = 0.1
_FIRST_LOG_VARIANCE = -4.0
_MATRIX = "parametrizations.weight.original"
# Layers that face pixels or latents: no hidden matrices.
_OUTER = ("coder.conv_in", "coder.conv_out", "quant_conv")


class _AsMatrix(nn.Module):
    """A filter kept as a matrix of its output channels by everything else."""

    def __init__(self, shape: torch.Size, memory: torch.memory_format) -> None:
        super().__init__()
        self.shape, self.memory = shape, memory

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.view(self.shape).contiguous(memory_format=self.memory)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.contiguous().flatten(1)


@torch.no_grad()
def start_filters(model: nn.Module, channels: int) -> None:
    """Draw the filters of a diffusers autoencoder so that signals keep their size.

    Args:
        model: Changed in place.
        channels: Of the latents.
    """
    for name, layer in _filters(model).items():
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if name.endswith("conv2"):
            layer.weight.mul_(_BRANCH)
    moments = _filters(model)["quant_conv"]
    moments.weight[channels:].zero_()
    assert moments.bias is not None
    moments.bias[channels:] = _FIRST_LOG_VARIANCE


def hold_as_matrices(model: nn.Module) -> None:
    """Parametrise the inner filters of an autoencoder as matrices, in place.

    Layers get their filters with the channels last, which is what CPUs are fast with.
    """
    for name, layer in _filters(model).items():
        if not any(word in name for word in _OUTER):
            matrix = _AsMatrix(layer.weight.shape, channels_last(layer.weight))
            parametrize.register_parametrization(layer, "weight", matrix)


def channels_last(tensor: Tensor) -> torch.memory_format:
    """The layout with the channels last of pictures, videos and their filters."""
    return torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d


def copy_filters(held: nn.Module, plain: nn.Module) -> None:
    """Load the weights of an autoencoder held as matrices into one with ordinary filters."""
    shapes = {name: weight.shape for name, weight in plain.state_dict().items()}
    weights = {
        name.replace(_MATRIX, "weight"): weight for name, weight in held.state_dict().items()
    }
    plain.load_state_dict({name: weights[name].view(shapes[name]) for name in shapes})


def _filters(model: nn.Module) -> dict[str, nn.Conv2d | nn.Conv3d]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Conv3d)}
