"""Building blocks of the convolutional image tokenizer, under the names of official checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-6
Padding = Literal["zeros", "replicate"]


@dataclass(frozen=True, slots=True)
class Style:
    """What all blocks of one half of a tokenizer share.

    Attributes:
        groups: Groups of the group norm; 0 normalises the channels of each pixel by itself.
        kernel: Side of the convolutions in residual blocks, 3 or 1.
        padding: What lies outside of the picture.
    """

    groups: int = 32
    kernel: Literal[1, 3] = 3
    padding: Padding = "zeros"

    def norm(self, channels: int) -> nn.Module:
        """Build the normalisation of `channels` channels."""
        if self.groups == 0:
            return PixelNorm(channels)
        return nn.GroupNorm(self.groups, channels, eps=EPSILON)

    def conv(self, inputs: int, outputs: int, kernel: int | None = None) -> nn.Conv2d:
        """Build a convolution that keeps height and width."""
        side = self.kernel if kernel is None else kernel
        mode = self.padding if side > 1 else "zeros"
        return nn.Conv2d(inputs, outputs, side, padding=side // 2, padding_mode=mode)


class PixelNorm(nn.Module):
    """Layer norm over the channels of each pixel: no pixel sees another one's statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(batch, channels, height, width)`."""
        last = x.permute(0, 2, 3, 1)
        normed = functional.layer_norm(last, last.shape[-1:], self.weight, self.bias, EPSILON)
        return normed.permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """Norm, swish, convolution, twice, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, style: Style) -> None:
        super().__init__()
        self.norm1 = style.norm(inputs)
        self.conv1 = style.conv(inputs, outputs)
        self.norm2 = style.norm(outputs)
        self.conv2 = style.conv(outputs, outputs)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)
        self._changes = inputs != outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, inputs, height, width)` to `(batch, outputs, height, width)`."""
        hidden = self.conv1(functional.silu(self.norm1(x)))
        hidden = self.conv2(functional.silu(self.norm2(hidden)))
        shortcut: Tensor = self.nin_shortcut(x) if self._changes else x
        return shortcut + hidden


class AttnBlock(nn.Module):
    """Self-attention with one head over all pixels, beside a shortcut."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.norm = style.norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        normed = self.norm(x)
        query, key, value = (
            part(normed).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return x + self.proj_out(mixed.transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Halve height and width: one pixel is added on the right and below, on no other side."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)
        self._mode = "replicate" if style.padding == "replicate" else "constant"

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to `(batch, channels, height/2, width/2)`."""
        hidden: Tensor = self.conv(functional.pad(x, (0, 1, 0, 1), mode=self._mode))
        return hidden


class Upsample(nn.Module):
    """Repeat every pixel twice in both directions, then convolve."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.conv = style.conv(channels, channels, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to `(batch, channels, 2 height, 2 width)`."""
        hidden: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return hidden
