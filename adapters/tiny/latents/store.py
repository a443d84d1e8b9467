"""Latents of training pictures, drawn and encoded once and kept on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adapters.mar.checkpoints import VAE_WEIGHTS, load_vae
from adapters.mar.vae import LatentVAE
from adapters.tiny.images.gpt_shape import class_of
from adapters.tiny.stored import Make, stored_rows
from adapters.tiny.world.scene import Scene

from .scenes import THINGS, latent_scene, scene_pixels
from .vae_shape import CELLS, CHANNELS

FIRST_SEED = 90_000_000
_ROWS = 256
_ENCODED_AT_ONCE = 32
_SHAPE = (2, CELLS, CHANNELS)


@dataclass(frozen=True, slots=True)
class LatentBatch:
    """Pictures of a step.

    Attributes:
        tokens: ``(rows, cells, width)`` drawn from the posteriors, in raster order.
        labels: ``(rows,)`` classes.
        drop: ``(rows,)`` bool, rows without their class.
    """

    tokens: Tensor
    labels: Tensor
    drop: Tensor


@dataclass(frozen=True, slots=True)
class LatentData:
    """Stored posteriors; every use of a picture draws its latents anew.

    Attributes:
        moments: ``(pictures, 2, cells, width)`` means and standard deviations.
        labels: ``(pictures,)`` classes.
    """

    moments: np.ndarray
    labels: Tensor

    def batch(self, step: int, rows: int, dropped: float) -> LatentBatch:
        """Pictures of a step; a function of the step alone.

        Args:
            step: Number of the batch.
            rows: Pictures.
            dropped: Share of rows without their class.
        """
        count = len(self.moments)
        index = np.arange(step * rows, (step + 1) * rows) % count
        mean, std = torch.from_numpy(self.moments[index]).float().unbind(1)
        generator = torch.Generator().manual_seed(step)
        return LatentBatch(
            tokens=mean + std * torch.randn(mean.shape, generator=generator),
            labels=self.labels[torch.from_numpy(index)],
            drop=torch.rand(rows, generator=generator) < dropped,
        )


def stored_latents(vae: Path, work: Path, count: int, *, held_out: bool = False) -> LatentData:
    """Posteriors of scenes 0 to `count`, read from `work` as far as they are there, else made.

    Args:
        vae: Folder of the tokenizer; other weights have other files.
        work: Where the latents are kept; rows are appended, so a killed run goes on.
        count: Number of pictures.
        held_out: Pictures of the held-out set.
    """
    mark = hashlib.sha256((vae / VAE_WEIGHTS).read_bytes()).hexdigest()[:12]
    path = work / f"latents-{'held-out' if held_out else 'training'}-{mark}.bin"
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    scenes = [latent_scene(seed, held_out=held_out, count=THINGS) for seed in seeds]

    def prepare() -> Make:
        model = load_vae(vae).float()
        return lambda start, stop: scene_moments(model, scenes[start:stop])

    moments = stored_rows(path, _SHAPE, count, prepare, _ROWS)
    return LatentData(moments, torch.tensor([class_of(scene) for scene in scenes]))


@torch.inference_mode()
def scene_moments(vae: LatentVAE, scenes: list[Scene]) -> np.ndarray:
    """Posteriors of pictures in the scale of the models, ``(scenes, 2, cells, width)`` float16."""
    pixels = scene_pixels(scenes).split(_ENCODED_AT_ONCE)
    moments = torch.cat([torch.stack(vae.posterior(piece), 1) for piece in pixels])
    return moments.numpy().astype(np.float16)
