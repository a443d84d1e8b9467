"""How well the KL tokenizer keeps pictures, and what they lose where latents are off."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from adapters.mar.vae import LatentVAE
from adapters.tiny.images.evaluate import class_scores
from adapters.tiny.images.gpt_shape import class_of
from adapters.tiny.images.judge import load_judge, see
from adapters.tiny.images.pictures import picture_array
from adapters.tiny.images.vq_scores import inked_pixels
from adapters.tiny.world.scene import Scene

from .scenes import latent_scene, scene_pixels

PICTURES = 200
# Share of the latents' standard deviation.
_NOISE = 0.2
_AT_ONCE = 50


@torch.inference_mode()
def vae_scores(vae: LatentVAE, pictures: int = PICTURES) -> dict[str, float]:
    """Scores on held-out pictures of one and two things.

    Returns:
        ``psnr`` in dB over all pixels of what the means of the posteriors decode to,
        ``psnr_things`` over the pixels that are not background, ``psnr_drawn`` for drawn latents,
        ``psnr_noisy`` with noise of a fifth of the latents' standard deviation on the means; what
        the judge reads right of the main thing, in ``judge_true`` for the pictures themselves and
        in ``judge``, ``judge_drawn`` and ``judge_noisy`` for what is decoded; ``posterior_std``,
        the noise of the posterior as a share of the latents' standard deviation.
    """
    scenes = [latent_scene(seed, held_out=True) for seed in range(pictures)]
    pixels = scene_pixels(scenes)
    truth = (pixels + 1) / 2
    moments = [vae.posterior(piece) for piece in pixels.split(_AT_ONCE)]
    mean, std = (torch.cat(part) for part in zip(*moments, strict=True))
    normals = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    arrays = np.stack([picture_array(scene) for scene in scenes])
    inked = inked_pixels(scenes, arrays)
    scores = {"judge_true": _judged(scenes, truth)}
    for name, latents in (
        ("", mean),
        ("_drawn", mean + std * normals),
        ("_noisy", mean + _NOISE * normals),
    ):
        found = torch.cat([vae.decode(piece) for piece in latents.split(_AT_ONCE)])
        error = (found - truth).square().mean(dim=1)
        scores[f"psnr{name}"] = _decibel(error.mean())
        if not name:
            scores["psnr_things"] = _decibel(error[inked].mean())
        scores[f"judge{name}"] = _judged(scenes, found)
    scores["posterior_std"] = float(std.mean())
    return {name: round(value, 4) for name, value in scores.items()}


def _judged(scenes: Sequence[Scene], pixels: Tensor) -> float:
    """Attribute accuracy of pictures `(n, 3, 64, 64)` in [0, 1]."""
    seen = see(load_judge(), pixels)
    return class_scores([class_of(scene) for scene in scenes], seen)["attribute_accuracy"]


def _decibel(error: Tensor) -> float:
    return -10 * math.log10(max(float(error), 1e-10))
