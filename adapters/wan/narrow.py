"""Wan's autoencoder with few channels, on a CPU: the same pictures several times sooner.

There, 3-D convolutions of few channels take most of a decoding, and norms and upsampling over a
dimension that does not lie together in memory most of the rest. They are computed in another order
here, so results agree with diffusers' up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanRMS_norm,
    WanUpsample,
)
from torch import Tensor

# Up to so many channels the way through 2-D convolutions is quicker (2 to 15 times at 8 to 32,
# as quick at 96, slower above).
MOST_CHANNELS = 64


class FlatCausalConv3d(WanCausalConv3d):
    """A causal 3-D convolution as one 2-D convolution of every frame and a sum over time.

    The 2-D convolution has the filters of all time steps side by side; what they give for
    neighbouring frames is then shifted and added. The bias comes with the last step, which is the
    frame itself: earlier ones may lie before the start, where there is nothing.

    Attributes:
        laid_out: Filters and bias in this order, where they no longer change; else None.
    """

    laid_out: tuple[Tensor, Tensor] | None = None

    def lay_out(self) -> tuple[Tensor, Tensor]:
        """The filters of all time steps side by side, and their biases."""
        filters = self.weight.permute(2, 0, 1, 3, 4).flatten(0, 1)
        bias = F.pad(self.bias, (self.out_channels * (self.kernel_size[0] - 1), 0))
        return filters.contiguous(memory_format=torch.channels_last), bias

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        """As diffusers': ``x`` ``(batch, channels, frames, height, width)`` after the cached."""
        side, rim, ahead = self._padding[0], self._padding[2], self._padding[4]
        if cache_x is not None and ahead > 0:
            x = torch.cat([cache_x.to(x.device), x], dim=2)
            ahead -= cache_x.shape[2]
        batch, _, frames, _, _ = x.shape
        depth, stride = self.kernel_size[0], self.stride[0]
        filters, bias = self.laid_out or self.lay_out()
        spread = F.conv2d(
            x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last),
            filters,
            bias,
            stride=self.stride[1:],
            padding=(rim, side),
        )
        taps = spread.unflatten(1, (depth, self.out_channels)).unflatten(0, (batch, frames))
        if ahead > 0:
            taps = F.pad(taps, (0,) * 8 + (ahead, 0))
        last = ahead + frames - depth
        shifted = [taps[:, at : last + at + 1 : stride, at] for at in range(depth)]
        out = shifted[0] + shifted[1] if depth > 1 else shifted[0]
        for tap in shifted[2:]:
            out += tap
        return out.transpose(1, 2)


class SummedRMSNorm(WanRMS_norm):
    """The norm over channels from a plain sum of squares."""

    def forward(self, x: Tensor) -> Tensor:
        """As diffusers', for channels first and float32; anything else is left to it."""
        if not self.channel_first or x.dtype != torch.float32:
            return super().forward(x)
        norm = x.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt()
        normed = x * norm * (self.scale * self.gamma)
        # Without one, diffusers keeps a plain zero.
        return normed + self.bias if torch.is_tensor(self.bias) else normed


class ChannelsLastUpsample(WanUpsample):
    """Twice as many pixels; ten times sooner where the channels lie together."""

    def forward(self, x: Tensor) -> Tensor:
        """As diffusers'."""
        out: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return out


def hasten_narrow(vae: Any) -> Any:
    """Let an autoencoder's narrow convolutions, norms and upsampling work as above; weights stay.

    Args:
        vae: An ``AutoencoderKLWan`` on a CPU; changed in place. Frozen weights are laid out now, so
            that they have to be in their place and number format.

    Returns:
        The same.
    """
    for part in vae.modules():
        if type(part) is WanRMS_norm:
            part.__class__ = SummedRMSNorm
        elif type(part) is WanUpsample:
            part.__class__ = ChannelsLastUpsample
        elif type(part) is WanCausalConv3d and _narrow(part):
            part.__class__ = FlatCausalConv3d
            part.laid_out = None if part.weight.requires_grad else part.lay_out()
    return vae


def _narrow(part: WanCausalConv3d) -> bool:
    return max(part.in_channels, part.out_channels) <= MOST_CHANNELS
