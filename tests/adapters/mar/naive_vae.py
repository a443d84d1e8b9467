"""The official autoencoder written down once more from its own names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def moments(w: Weights, pixels: Tensor, levels: int, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents, not scaled."""
    x = conv(w, "encoder.conv_in", pixels)
    for level in range(levels):
        for index in range(2):
            x = res(w, f"encoder.down.{level}.block.{index}", x, groups)
            if level == levels - 1:
                x = attend(w, f"encoder.down.{level}.attn.{index}", x, groups)
        if level < levels - 1:
            name = f"encoder.down.{level}.downsample.conv"
            x = F.conv2d(F.pad(x, (0, 1, 0, 1)), w[name + ".weight"], w[name + ".bias"], stride=2)
    x = ending(w, "encoder", middle(w, "encoder", x, groups), groups)
    mean, log_variance = conv(w, "quant_conv", x).chunk(2, dim=1)
    return mean, torch.exp(log_variance.clamp(-30, 20) / 2)


def decode(w: Weights, latents: Tensor, levels: int, groups: int) -> Tensor:
    """Pixels in about [-1, 1] of latents that are not scaled."""
    x = conv(w, "decoder.conv_in", conv(w, "post_quant_conv", latents))
    x = middle(w, "decoder", x, groups)
    for level in reversed(range(levels)):
        for index in range(3):
            x = res(w, f"decoder.up.{level}.block.{index}", x, groups)
        if level > 0:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = conv(w, f"decoder.up.{level}.upsample.conv", x)
    return ending(w, "decoder", x, groups)


def conv(w: Weights, name: str, x: Tensor) -> Tensor:
    weight = w[name + ".weight"]
    return F.conv2d(x, weight, w[name + ".bias"], padding=weight.shape[-1] // 2)


def norm(w: Weights, name: str, x: Tensor, groups: int) -> Tensor:
    flat = x.reshape(len(x), groups, -1)
    spread = flat.var(-1, keepdim=True, correction=0)
    flat = (flat - flat.mean(-1, keepdim=True)) / torch.sqrt(spread + 1e-6)
    return flat.reshape(x.shape) * w[name + ".weight"].view(-1, 1, 1) + w[name + ".bias"].view(
        -1, 1, 1
    )


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def res(w: Weights, name: str, x: Tensor, groups: int) -> Tensor:
    h = conv(w, name + ".conv1", swish(norm(w, name + ".norm1", x, groups)))
    h = conv(w, name + ".conv2", swish(norm(w, name + ".norm2", h, groups)))
    if name + ".nin_shortcut.weight" in w:
        x = conv(w, name + ".nin_shortcut", x)
    return x + h


def attend(w: Weights, name: str, x: Tensor, groups: int) -> Tensor:
    h = norm(w, name + ".norm", x, groups)
    query, key, value = (conv(w, f"{name}.{part}", h).flatten(2) for part in "qkv")
    weights = torch.einsum("bci,bcj->bij", query, key) / query.shape[1] ** 0.5
    mixed = torch.einsum("bij,bcj->bci", weights.softmax(-1), value)
    return x + conv(w, name + ".proj_out", mixed.view_as(x))


def middle(w: Weights, side: str, x: Tensor, groups: int) -> Tensor:
    x = res(w, f"{side}.mid.block_1", x, groups)
    return res(w, f"{side}.mid.block_2", attend(w, f"{side}.mid.attn_1", x, groups), groups)


def ending(w: Weights, side: str, x: Tensor, groups: int) -> Tensor:
    return conv(w, f"{side}.conv_out", swish(norm(w, f"{side}.norm_out", x, groups)))
