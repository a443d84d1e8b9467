"""Train the embedded KL tokenizer: 64 x 64 pixels to 8 x 8 vectors of 16 numbers, and back.

Usage: python -m adapters.tiny.latents.train_vae --out adapters/tiny/weights/mar/vae
A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from adapters.mar.checkpoints import load_vae, save_vae
from adapters.tiny.images.train_vq import picture_loss
from adapters.tiny.run import Stage, train
from adapters.tiny.world.scene import GRID, Scene

from .scenes import latent_scene, scene_pixels
from .vae_card import write_vae_card
from .vae_scores import vae_scores
from .vae_shape import CELLS, CHANNELS, build_vae, plain_vae

log = logging.getLogger(__name__)

VAE = Stage("vae", steps=1500, rate=5e-3, warmup=20, decay=0.6, save_every=100)
ROWS = 32
# Of the divergence of one latent number from a standard normal, beside the loss of the picture.
KL_WEIGHT = 1e-4
_FIRST_SEED = 80_000_000
_SCALE_PICTURES = 512
_ENCODED_AT_ONCE = 32


def vae_scene(seed: int) -> Scene:
    """Scene of a training picture: three of four are full, since full ones hold more edges."""
    return latent_scene(seed, count=GRID * GRID if seed % 4 else None)


def vae_loss(vae: AutoencoderKL, step: int, rows: int = ROWS) -> Tensor:
    """Loss of a step: distance of pictures, and a little of the latents' divergence."""
    seeds = range(_FIRST_SEED + step * rows, _FIRST_SEED + (step + 1) * rows)
    pixels = scene_pixels([vae_scene(seed) for seed in seeds])
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    posterior = vae.encode(pixels).latent_dist
    latents = posterior.sample(torch.Generator().manual_seed(step))
    divergence = posterior.kl().mean() / (CELLS * CHANNELS)
    return picture_loss(vae.decode(latents).sample, pixels) + KL_WEIGHT * divergence


@torch.inference_mode()
def latent_scale(vae: AutoencoderKL, pictures: int = _SCALE_PICTURES) -> float:
    """Inverse of the standard deviation of latents, posterior noise included."""
    vae = vae.eval()
    scenes = [latent_scene(_FIRST_SEED + 4 * index) for index in range(pictures)]
    moments = [
        vae.encode(pixels).latent_dist for pixels in scene_pixels(scenes).split(_ENCODED_AT_ONCE)
    ]
    mean = torch.cat([part.mean for part in moments])
    noise = torch.cat([part.var for part in moments])
    return float((mean.var() + noise.mean()).rsqrt())


def main(arguments: list[str] | None = None) -> None:
    """Train, save the folder, score it on held-out pictures and write its card."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(12)
    vae = build_vae()
    stage = replace(VAE, steps=options.steps)
    train(stage, vae, lambda step: vae_loss(vae, step, options.rows), options.work)
    save_vae(plain_vae(vae, latent_scale(vae)), options.out, torch.bfloat16)
    # Scores are those of the weights on disk, in the number format they are stored in.
    stored = load_vae(options.out).float()
    scores = vae_scores(stored)
    log.info("held out: %s", scores)
    parts = {
        "thousands": sum(parameter.numel() for parameter in vae.parameters()) / 1e3,
        "channels": ", ".join(map(str, stored.model.config.block_out_channels)),
        "groups": stored.model.config.norm_num_groups,
        "rows": options.rows,
        "rate": stage.rate,
        "decay": stage.decay,
        "divergence": KL_WEIGHT,
        "scale": stored.scale,
    }
    write_vae_card(options.out, options.work, scores, parts, options.threads)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/vae"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=VAE.steps)
    parser.add_argument("--rows", type=int, default=ROWS, help="pictures per step")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
