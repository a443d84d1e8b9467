"""Train the embedded video autoencoder on cuts of films.

Usage: python -m adapters.tiny.videos.train_video_vae --out adapters/tiny/weights/wan/vae
A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from dataclasses import replace
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
from .vae_shape import CHANNELS, GRID_SIDE, build_vae, plain_vae

log = logging.getLogger(__name__)

VAE = Stage("video-vae", steps=2400, rate=5e-3, warmup=20, decay=0.6, save_every=100)
ROWS = 6
CUT = 9  # pictures: the first latent frame and two more
# Of the divergence of one latent number from a standard normal, beside the loss of the pictures.
KL_WEIGHT = 1e-4
_FIRST_SEED = 80_000_000
_SCALE_FILMS = 24


def vae_loss(vae: Any, step: int, rows: int = ROWS) -> Tensor:
    """Loss of a step: distance of pictures, and a little of the latents' divergence."""
    films = [film_from_seed(_FIRST_SEED + step * rows + row, count=3) for row in range(rows)]
    rng = random.Random(step)
    starts = [rng.randint(0, FILM_FRAMES - CUT) for _ in films]
    pixels = cut_pixels(films, starts, CUT)
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
    vae: AutoencoderKLWan = build_vae()
    stage = replace(VAE, steps=options.steps)
    train(stage, vae, lambda step: vae_loss(vae, step, options.rows), options.work)
    save_folder(plain_vae(vae, *latent_scale(vae, options.films)), options.out, torch.bfloat16)
    # Scores are those of the weights on disk, in the number format they are stored in.
    scores = vae_scores(load_vae(options.out, torch.float32), options.films)
    log.info("held out: %s", scores)
    parts = {
        "thousands": sum(parameter.numel() for parameter in vae.parameters()) / 1e3,
        "channels": CHANNELS,
        "rows": options.rows,
        "frames": CUT,
        "rate": stage.rate,
        "decay": stage.decay,
        "divergence": KL_WEIGHT,
    }
    write_vae_card(options.out, options.work, scores, parts, options.threads)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/video-vae"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=VAE.steps)
    parser.add_argument("--rows", type=int, default=ROWS, help="cuts per step")
    parser.add_argument("--films", type=int, default=_SCALE_FILMS, help="to scale and score with")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
