"""Train the embedded image tokenizer: 64 x 64 pixels to 16 x 16 codes of 512, and back.

Usage: python -m adapters.tiny.images.train_vq --out adapters/tiny/weights/llamagen/vq
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adapters.llamagen.vq import Reconstruction
from adapters.llamagen.vq_checkpoints import load_vq, save_vq
from adapters.tiny.run import Stage, train
from adapters.tiny.world.scene import GRID, Scene, sample_scene

from .pictures import image_scene, picture_array
from .vq_card import write_vq_card
from .vq_scores import vq_scores
from .vq_shape import FIRST_CODES, RESTART_EVERY, VQTrainee

log = logging.getLogger(__name__)

VQ = Stage("vq", steps=1800, rate=3e-3, warmup=50, decay=0.6, save_every=100)
ROWS = 32
EDGE_WEIGHT = 0.5
COMMITMENT_WEIGHT = 0.25
# Codes stay where they are over the last part of training, so that the decoder can settle.
_LAST_RESTART = 0.75
_CODEBOOK_ROWS = 64
_FIRST_SEED = 60_000_000


def vq_scene(seed: int) -> Scene:
    """Scene of a training picture: every second one is full, since full ones hold more edges."""
    if seed % 2:
        return sample_scene(random.Random(seed), GRID * GRID)
    return image_scene(seed)


def vq_pixels(seeds: range) -> Tensor:
    """Training pictures of some seeds, `(rows, 3, 64, 64)` in [-1, 1]."""
    arrays = np.stack([picture_array(vq_scene(seed)) for seed in seeds])
    pixels = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def vq_loss(trainee: VQTrainee, step: int, steps: int, rows: int = ROWS) -> Tensor:
    """Loss of a step; at fixed steps, codes are laid out or moved first."""
    first = _FIRST_SEED + step * rows
    pixels = vq_pixels(range(first, first + rows))
    generator = torch.Generator().manual_seed(step)
    since = step - FIRST_CODES
    if since == 0:
        # The rows before this step's own: at the first codes, what has just been learned from.
        seeds = range(first - _CODEBOOK_ROWS, first)
        trainee.first_codes(vq_pixels(seeds), generator)
    elif since > 0 and since % RESTART_EVERY == 0 and step < _LAST_RESTART * steps:
        log.info("step %d moves %d codes", step, trainee.restart_dead(pixels, generator))
    outcome = trainee(pixels, rounded=since >= 0)
    if not isinstance(outcome, Reconstruction):
        return picture_loss(outcome, pixels)
    quantized = outcome.quantized
    rounding = quantized.codebook_loss + COMMITMENT_WEIGHT * quantized.commitment_loss
    return picture_loss(outcome.pixels, pixels) + rounding


def picture_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean and squared distance of pixels, and distance of differences to the right and below."""
    edges = [functional.l1_loss(found.diff(dim=axis), wanted.diff(dim=axis)) for axis in (-1, -2)]
    near = functional.l1_loss(found, wanted) + functional.mse_loss(found, wanted)
    return near + EDGE_WEIGHT * (edges[0] + edges[1])


def main(arguments: list[str] | None = None) -> None:
    """Train, save the folder, score it on held-out pictures and write its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/vq"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=VQ.steps)
    parser.add_argument("--rows", type=int, default=ROWS, help="pictures per step")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(6)
    trainee = VQTrainee()
    stage = replace(VQ, steps=options.steps)
    train(
        stage,
        trainee,
        lambda step: vq_loss(trainee, step, stage.steps, options.rows),
        options.work,
    )
    save_vq(trainee.model, options.out, torch.bfloat16)
    # Scores are those of the weights on disk, in the number format they are stored in.
    scores = vq_scores(load_vq(options.out).float())
    parts = {
        "parameters": sum(parameter.numel() for parameter in trainee.parameters()),
        "rows": options.rows,
        "rate": stage.rate,
        "decay": stage.decay,
        "warm": FIRST_CODES,
        "restart": RESTART_EVERY,
    }
    write_vq_card(options.out, options.work, scores, parts)


if __name__ == "__main__":
    main()
