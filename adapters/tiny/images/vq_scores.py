"""How well a tokenizer keeps pictures, and how predictable its codes are."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from adapters.llamagen.vq import VQModel
from adapters.tiny.world.render import TONES
from adapters.tiny.world.scene import Scene

from .pictures import PATCH, image_scene, picture_array

PICTURES = 200
# The encoder looks two codes far at most: a code counts as background if all around it is.
_REACH = 2


def vq_scores(model: VQModel, pictures: int = PICTURES) -> dict[str, float]:
    """Scores on held-out pictures.

    Returns:
        `psnr` in dB over all pixels, `psnr_things` over the pixels that are not background,
        `codes_used`, `perplexity` of the codes, the same without background in
        `perplexity_things`, and `codes_per_background`, the largest number of codes that the flat
        areas of one tone take.
    """
    scenes = [image_scene(seed, held_out=True) for seed in range(pictures)]
    arrays = np.stack([picture_array(scene) for scene in scenes])
    pixels = torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
    codes = model.encode(pixels, chunk=50)
    found = torch.cat([model.decode(piece) for piece in codes.split(50)]).clamp(-1, 1)
    error = (found - pixels).square().mean(dim=1) / 4
    inked = inked_pixels(scenes, arrays)
    flat = flat_codes(inked)
    things = codes[~flat]
    return {
        "psnr": _decibel(error.mean()),
        "psnr_things": _decibel(error[inked].mean()),
        "codes_used": float(len(codes.unique())),
        "perplexity": _perplexity(codes, model.config.codebook_size),
        "perplexity_things": _perplexity(things, model.config.codebook_size),
        "codes_per_background": float(_codes_per_tone(scenes, codes, flat)),
    }


def inked_pixels(scenes: list[Scene], arrays: np.ndarray) -> Tensor:
    """Which pixels `(n, 64, 64)` differ from their picture's background."""
    tones = np.array([TONES[scene.background] for scene in scenes])[:, None, None]
    return torch.from_numpy((arrays != tones).any(axis=-1))


def flat_codes(inked: Tensor) -> Tensor:
    """Which codes `(n, 16, 16)` have no inked pixel in them or within two codes of them."""
    pooled = torch.nn.functional.max_pool2d(inked.float()[:, None], PATCH)
    side = 2 * _REACH + 1
    near = torch.nn.functional.max_pool2d(pooled, side, stride=1, padding=_REACH)
    return near[:, 0] == 0


def _codes_per_tone(scenes: list[Scene], codes: Tensor, flat: Tensor) -> int:
    seen: dict[str, set[int]] = {}
    for scene, row, mask in zip(scenes, codes, flat, strict=True):
        seen.setdefault(scene.background, set()).update(row[mask].tolist())
    return max(len(found) for found in seen.values())


def _perplexity(codes: Tensor, size: int) -> float:
    shares = torch.bincount(codes.flatten(), minlength=size).double() / codes.numel()
    return float(torch.special.entr(shares).sum().exp())


def _decibel(error: Tensor) -> float:
    return -10 * math.log10(max(float(error), 1e-10))
