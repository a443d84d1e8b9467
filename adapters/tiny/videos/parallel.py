"""All blocks of a video in one training pass: clean blocks, and noisy ones that follow them.

The frames of a pass are the clean video but for its last block, which nothing follows, and after it
a noisy copy of the whole. A noisy block looks at the clean blocks before it and at itself, a clean
block at itself and those before: what the block-by-block model does with its cache, for all blocks
at once and with gradients.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.wan.bound import BoundProcessor, binding, rotated_heads
from adapters.wan.rope import Rotation, frame_rotation


@dataclass(frozen=True)
class _Layout:
    """Rotation of all tokens, clean and noisy, tokens of a block, and the number of noisy ones."""

    rotation: Rotation
    tokens: int
    blocks: int


_running: ContextVar[_Layout | None] = ContextVar("parallel_blocks", default=None)


class ParallelAttention(BoundProcessor):
    """Self-attention of clean and noisy blocks; outside :func:`teacher_forced`, diffusers' own."""

    bound = _running

    def attend(self, attn: Any, hidden_states: Tensor, current: _Layout) -> Tensor:
        """See :class:`~adapters.wan.bound.BoundProcessor`."""
        query, key, value = rotated_heads(attn, hidden_states, current.rotation)
        # (batch, heads, tokens, head), as the attention kernel takes them.
        query, key, value = (states.transpose(1, 2) for states in (query, key, value))
        clean, noisy = [], []
        whole = current.tokens * (current.blocks - 1)
        for first in range(0, whole + current.tokens, current.tokens):
            last = first + current.tokens
            own = slice(whole + first, whole + last)
            if first < whole:
                clean.append(
                    F.scaled_dot_product_attention(
                        query[:, :, first:last], key[:, :, :last], value[:, :, :last]
                    )
                )
            keys = torch.cat((key[:, :, :first], key[:, :, own]), dim=2)
            values = torch.cat((value[:, :, :first], value[:, :, own]), dim=2)
            noisy.append(F.scaled_dot_product_attention(query[:, :, own], keys, values))
        attended = torch.cat(clean + noisy, dim=2).transpose(1, 2).flatten(2)
        out: Tensor = attn.to_out[0](attended.type_as(hidden_states))
        return out


def install_parallel(model: Any) -> Any:
    """Give a ``WanTransformer3DModel`` the processors of this module, and return it."""
    for block in model.blocks:
        block.attn1.set_processor(ParallelAttention())
    return model


def teacher_forced(
    model: Any, clean: Tensor, noisy: Tensor, timesteps: Tensor, text: Tensor, block_frames: int
) -> Tensor:
    """Velocities of all blocks, each given the clean blocks before it.

    Args:
        model: From :func:`install_parallel`.
        clean: ``(batch, channels, frames, height, width)``; the last block is not looked at.
        noisy: The same blocks, noisy.
        timesteps: ``(batch, blocks)`` noise levels in thousandths; clean blocks are at 0.
        text: ``(batch, tokens, width)``.
        block_frames: Frames of a block.

    Returns:
        As ``noisy``.

    Raises:
        ValueError: The frames do not make whole blocks, one a timestep.
    """
    frames, height, width = clean.shape[2:]
    if frames != block_frames * timesteps.shape[1]:
        raise ValueError(
            f"{frames} frames do not make {timesteps.shape[1]} blocks of {block_frames}"
        )
    _, rows, columns = model.config.patch_size
    size = (height // rows) * (width // columns)
    known = frames - block_frames
    turns = frame_rotation(model.rope, 0, frames, height // rows, width // columns)
    cosines, sines = (torch.cat((turn[:, : known * size], turn), 1) for turn in turns)
    tokens = timesteps.repeat_interleave(block_frames * size, dim=1)
    with binding(_running, _Layout((cosines, sines), block_frames * size, timesteps.shape[1])):
        (velocity,) = model(
            hidden_states=torch.cat((clean[:, :, :known], noisy), dim=2),
            timestep=torch.cat((torch.zeros_like(tokens[:, : known * size]), tokens), dim=1),
            encoder_hidden_states=text,
            return_dict=False,
        )
    out: Tensor = velocity[:, :, known:]
    return out
