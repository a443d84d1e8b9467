"""Frames as image encoders want them: resized, cut or padded to a square, normalised.

Resizing is antialiased bicubic on the tensor's own device. The published programs resize 8-bit
pictures with Pillow, which rounds: single values differ by up to some 3 of 255.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def crop_square(frames: Tensor, side: int) -> Tensor:
    """The short side brought to ``side``, the middle of the long one: ``(F, 3, side, side)``.

    Of a frame of 832 x 480 the outer 42 % are not seen.
    """
    height, width = frames.shape[-2:]
    short = min(height, width)
    frames = _resize(frames, side * height // short, side * width // short)
    top, left = (round((length - side) / 2) for length in frames.shape[-2:])
    return frames[..., top : top + side, left : left + side]


def pad_square(frames: Tensor, side: int) -> Tensor:
    """The long side brought to ``side``, the rest black: ``(F, 3, side, side)``."""
    height, width = frames.shape[-2:]
    scale = side / max(height, width)
    frames = _resize(frames, max(1, round(height * scale)), max(1, round(width * scale)))
    down, right = (side - length for length in frames.shape[-2:])
    return F.pad(frames, (right // 2, right - right // 2, down // 2, down - down // 2))


def normalised(frames: Tensor) -> Tensor:
    """``(frames - mean) / std`` with the numbers of CLIP, which BLIP shares."""
    mean, std = (torch.tensor(values).to(frames).view(3, 1, 1) for values in (MEAN, STD))
    return (frames - mean) / std


def _resize(frames: Tensor, height: int, width: int) -> Tensor:
    """In float32 and within [0, 1]: bicubic overshoots at edges."""
    frames = frames.float()
    if frames.shape[-2:] == (height, width):
        return frames
    size = (height, width)
    return F.interpolate(frames, size, mode="bicubic", antialias=True).clamp(0, 1)
