"""A random AnyFlow-FAR of a few thousand weights, and its masked whole pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AnyFlowFARTransformer3DModel
from torch import Tensor

from tests.adapters.wan.tiny_wan import CHANNELS, TEXT_WIDTH


def random_far(seed: int = 0, **change: Any) -> Any:
    """Weights large enough that text, times, places and earlier blocks all matter."""
    settings = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "text_dim": TEXT_WIDTH,
        "freq_dim": 32,
        "ffn_dim": 48,
        "num_layers": 2,
    }
    torch.manual_seed(seed)  # of the tables, to which noise is only added
    model = AnyFlowFARTransformer3DModel(**{**settings, **change})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1 and "table" not in name:
                weight.copy_(noise * 1.5 / weight[0].numel() ** 0.5)
            else:
                weight.add_(0.3 * noise)
    return model.requires_grad_(False).eval()


@torch.no_grad()
def whole_pass(
    model: Any, clean: Sequence[Tensor], block: Tensor, start: float, end: float, text: Tensor
) -> Tensor:
    """The last block's velocity from the unmodified model's path for training, which has masks."""
    latents = torch.cat([*clean, block], dim=2).transpose(1, 2)
    past, size = latents.shape[1] - block.shape[2], block.shape[2]
    times = torch.zeros(2, latents.shape[0], latents.shape[1])
    times[0, :, past:], times[1, :, past:] = start, end
    out = model(
        hidden_states=latents,
        timestep=times[0],
        r_timestep=times[1],
        encoder_hidden_states=text,
        chunk_partition=[size] * (len(clean) + 1),
        return_dict=False,
    )[0]
    return out[:, -size:].transpose(1, 2)
