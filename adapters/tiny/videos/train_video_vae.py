"""Train the autoencoder that makes the latents of the embedded video models, on cuts of films.

Usage: python -m adapters.tiny.videos.train_video_vae --out runs/wan/first-vae
The one that is embedded learns from it: see `train_quick_vae`.
A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from adapters.tiny.images.train_vq import picture_loss
from adapters.tiny.run import Stage, train
from adapters.tiny.world.films import FILM_FRAMES, film_from_seed
from adapters.wan.checkpoints import load_vae, save_folder

from .pixels import cut_pixels, film_pixels
from .vae_card import write_vae_card
from .vae_scores import vae_scores
from .vae_shape import CHANNELS, FIRST_SHAPE, GRID_SIDE, build_vae, plain_vae

log = logging.getLogger(__name__)

# First short cuts. Then longer ones, and at last whole films: a film falls apart where it is longer
# than what was seen in training. Single pictures beside them are cheap and each another one.
STAGES = (
    Stage("video-vae", steps=1200, rate=5e-3, warmup=20, decay=0.6, save_every=100),
    Stage("video-vae-long", steps=1700, rate=5e-3, warmup=20, decay=0.5, save_every=100),
    Stage("video-vae-whole", steps=250, rate=2e-3, warmup=10, decay=0.9, save_every=50),
)
# Films of a step and frames of each, in turns.
CUTS = (((6, 9),), ((2, 17), (1, 33)), ((1, FILM_FRAMES),))
PICTURES = 8
# Of the divergence of one latent number from a standard normal, beside the loss of the pictures.
KL_WEIGHT = 1e-4
_FIRST_SEED, _APART = 80_000_000, 1_000_000
_SCALE_FILMS = 24


def stage_loss(vae: Any, number: int, step: int) -> Tensor:
    """Loss of a step of a stage: a cut, and after the first stage pictures of other films."""
    first = _FIRST_SEED + 2 * number * _APART
    rows, frames = CUTS[number][step % len(CUTS[number])]
    loss = vae_loss(vae, step, rows, frames, first)
    if number:
        loss = loss + vae_loss(vae, step, PICTURES, 1, first + _APART)
    return loss


def vae_loss(vae: Any, step: int, rows: int, frames: int, first: int = _FIRST_SEED) -> Tensor:
    """Distance of pictures, and a little of the latents' divergence.

    Args:
        vae: Under training.
        step: Decides which cuts.
        rows: Films of a step.
        frames: Of each cut.
        first: Seed of the first film.
    """
    films = [film_from_seed(first + step * rows + row, count=3) for row in range(rows)]
    rng = random.Random(step)
    starts = [rng.randint(0, FILM_FRAMES - frames) for _ in films]
    pixels = cut_pixels(films, starts, frames).contiguous(memory_format=torch.channels_last_3d)
    posterior = vae.encode(pixels).latent_dist
    latents = posterior.sample(torch.Generator().manual_seed(step))
    divergence = posterior.kl().mean() / (CHANNELS * GRID_SIDE**2 * latents.shape[2])
    return picture_loss(vae.decode(latents).sample, pixels) + KL_WEIGHT * divergence


@torch.inference_mode()
def latent_scale(vae: Any, films: int = _SCALE_FILMS) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel over films, ``(channels,)`` each."""
    means = [
        vae.encode(film_pixels([film_from_seed(_FIRST_SEED + index)])).latent_dist.mean
        for index in range(films)
    ]
    flat = torch.cat(means).transpose(0, 1).flatten(1)
    return flat.mean(dim=1), flat.std(dim=1)


def main(arguments: list[str] | None = None) -> None:
    """Train, save the folder, score it on held-out films and write its card."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(30)
    vae: AutoencoderKLWan = build_vae(FIRST_SHAPE)
    lengths = options.steps or [stage.steps for stage in STAGES]
    stages = [replace(stage, steps=n) for stage, n in zip(STAGES, lengths, strict=True)]
    for number, stage in enumerate(stages):
        train(stage, vae, partial(stage_loss, vae, number), options.work)
    save_folder(plain_vae(vae, *latent_scale(vae, options.films)), options.out, torch.bfloat16)
    # Scores are those of the weights on disk, in the number format they are stored in.
    scores = vae_scores(load_vae(options.out, torch.float32), options.films)
    log.info("held out: %s", scores)
    parts = {
        "thousands": sum(parameter.numel() for parameter in vae.parameters()) / 1e3,
        "channels": CHANNELS,
        "cuts": "; then ".join(_in_words(cuts) for cuts in CUTS),
        "pictures": PICTURES,
        "divergence": KL_WEIGHT,
    }
    names = [stage.name for stage in stages]
    write_vae_card(options.out, options.work, names, scores, parts, options.threads)


def _in_words(cuts: Sequence[tuple[int, int]]) -> str:
    return " or ".join(f"{rows} of {frames} frames" for rows, frames in cuts)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/video-vae"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, nargs=len(STAGES), help="of each stage")
    parser.add_argument("--films", type=int, default=_SCALE_FILMS, help="to scale and score with")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
