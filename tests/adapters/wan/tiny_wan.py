"""Random Wan models of a few thousand weights, and the whole video in one masked pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from torch import Tensor

CHANNELS, HEIGHT, WIDTH = 4, 4, 6
TOKENS = HEIGHT * WIDTH // 4
TEXT_WIDTH = 12


def random_wan(seed: int = 0, **change: Any) -> Any:
    """Weights large enough that text, time, positions and earlier frames all matter."""
    settings = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "text_dim": TEXT_WIDTH,
        "freq_dim": 32,
        "ffn_dim": 48,
        "num_layers": 3,
    }
    model = WanTransformer3DModel(**{**settings, **change})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1 and "table" not in name:
                weight.copy_(noise * 1.5 / weight[0].numel() ** 0.5)
            else:
                weight.add_(0.3 * noise)
    return model.requires_grad_(False).eval()


def random_vae(seed: int = 0, **change: Any) -> Any:
    settings = {
        "base_dim": 8,
        "z_dim": CHANNELS,
        "dim_mult": [1, 2, 2, 2],
        "num_res_blocks": 1,
        "latents_mean": [0.3, -0.2, 0.1, 0.5],
        "latents_std": [1.5, 0.7, 2.0, 1.1],
    }
    torch.manual_seed(seed)
    return AutoencoderKLWan(**{**settings, **change}).requires_grad_(False).eval()


def noise_of(frames: int, seed: int, rows: int = 2) -> Tensor:
    shape = (rows, CHANNELS, frames, HEIGHT, WIDTH)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text_of(seed: int = 5, rows: int = 2) -> Tensor:
    shape = (rows, 7, TEXT_WIDTH)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def visible_frames(sizes: Sequence[int], window: int | None, sink: int = 0) -> list[set[int]]:
    """The frames each block looks at, told from the definition of a rolling window with a sink."""
    seen, start = [], 0
    for size in sizes:
        stop = start + size
        frames = set(range(stop))
        if window is not None and stop > window:
            first = set(range(sink))
            frames = first | set(range(stop - (window - len(first)), stop))
        seen.append(frames)
        start = stop
    return seen


class _Masked(WanAttnProcessor):
    """Diffusers' processor, given a mask."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def __call__(self, attn: Any, hidden: Tensor, text: Any, mask: Any, rotary: Any) -> Tensor:
        return super().__call__(attn, hidden, text, self.mask, rotary)


@contextmanager
def masked(model: Any, mask: Tensor) -> Iterator[None]:
    before = [block.attn1.processor for block in model.blocks]
    for block in model.blocks:
        block.attn1.set_processor(_Masked(mask))
    yield
    for block, processor in zip(model.blocks, before, strict=True):
        block.attn1.set_processor(processor)


@torch.no_grad()
def whole_pass(
    model: Any,
    blocks: Sequence[Tensor],
    timesteps: Tensor,
    text: Tensor,
    window: int | None = None,
    sink: int = 0,
) -> Tensor:
    """All frames through the unmodified model at once; the mask alone makes it causal.

    ``timesteps`` is ``(batch, frames)``.
    """
    sizes = [block.shape[2] for block in blocks]
    seen = visible_frames(sizes, window, sink)
    rows = [frames for frames, size in zip(seen, sizes, strict=True) for _ in range(size)]
    grid = torch.tensor([[key in frames for key in range(sum(sizes))] for frames in rows])
    mask = grid.repeat_interleave(TOKENS, 0).repeat_interleave(TOKENS, 1)[None, None]
    with masked(model, mask):
        (out,) = model(
            hidden_states=torch.cat(list(blocks), dim=2),
            timestep=timesteps.repeat_interleave(TOKENS, dim=1),
            encoder_hidden_states=text,
            return_dict=False,
        )
    return out


def last_block(
    model: Any,
    committed: Sequence[Tensor],
    block: Tensor,
    timestep: float | Tensor,
    text: Tensor,
    window: int | None = None,
    sink: int = 0,
) -> Tensor:
    """What a noisy block gets after clean ones, without any cache."""
    clean = sum(part.shape[2] for part in committed)
    times = torch.zeros(block.shape[0], clean + block.shape[2])
    times[:, clean:] = torch.as_tensor(timestep)
    out = whole_pass(model, [*committed, block], times, text, window, sink)
    return out[:, :, clean:]
