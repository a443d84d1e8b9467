"""Train the tiny captioner: tower, then language model, then all together, then motion.

Usage: python -m adapters.tiny.train_captioner --out adapters/tiny/weights/captioner
A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration
from transformers.utils import logging as transformers_logging

from .captioner import caption_loss
from .card import write_card
from .data import Batch, clip_example, collate, picture_example
from .evaluate import main as evaluate
from .export import export_captioner
from .model import build_captioner
from .motion import MotionReader, motion_labels
from .run import Stage, train
from .tower import STAGE as TOWER
from .tower import train_tower
from .world.clips import clip_from_seed

log = logging.getLogger(__name__)

WORDS = Stage("words", steps=420, rate=2e-3, warmup=60, decay=0.2)
TOGETHER = Stage("together", steps=400, rate=1.5e-3, warmup=40, decay=0.0)
MOTION = Stage("motion", steps=560, rate=1.5e-3, warmup=20, decay=0.7)
STAGES = (TOWER, WORDS, TOGETHER, MOTION)
PICTURES_A_BATCH = 32
FRAMES_A_BATCH = 64
_CLIPS_A_BATCH = 20
# Every second batch holds clips, and every second clip batch another number of frames than eight,
# mostly fewer: more clips for the same work. Two frames cannot tell a bounce from a move up.
_CLIP_EVERY = 2
_ODD_CLIP_EVERY = 2
_ODD_FRAMES = (3, 4, 4, 5, 6, 12, 16)
# Each stage reads its own stretch of the training seeds.
_FIRST_SEED = {"words": 10_000_000, "together": 20_000_000, "motion": 25_000_000}


def picture_batch(stage: str, step: int) -> Batch:
    """Pictures of a step, all new."""
    first = _FIRST_SEED[stage] + step * PICTURES_A_BATCH
    return collate([picture_example(first + index) for index in range(PICTURES_A_BATCH)])


def clip_batch(stage: str, step: int) -> tuple[Batch, torch.Tensor]:
    """Clips of a step, all with the same number of frames, and the motion under each patch."""
    odd = step // _CLIP_EVERY % _ODD_CLIP_EVERY == 0
    frames = random.Random(step).choice(_ODD_FRAMES) if odd else 8
    first = _FIRST_SEED[stage] + step * PICTURES_A_BATCH
    seeds = range(first, first + min(_CLIPS_A_BATCH, FRAMES_A_BATCH // frames))
    labels = np.concatenate([motion_labels(clip_from_seed(seed), frames) for seed in seeds])
    return collate([clip_example(seed, frames) for seed in seeds]), torch.from_numpy(labels)


def mixed_batch(stage: str, step: int) -> tuple[Batch, torch.Tensor | None]:
    """Pictures, or every second step clips and the motion under each of their patches."""
    if step % _CLIP_EVERY == _CLIP_EVERY - 1:
        return clip_batch(stage, step)
    return picture_batch(stage, step), None


def train_words(
    model: LlavaForConditionalGeneration, folder: Path, stage: Stage, out: Path
) -> None:
    """Train projector and language model on the frozen tower, pictures only."""
    model.model.vision_tower.requires_grad_(False)

    def step_loss(step: int) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return caption_loss(model, picture_batch(stage.name, step), train_tower=False)

    train(stage, model, step_loss, folder, on_save=lambda step: export_captioner(model, out))


def train_together(
    model: LlavaForConditionalGeneration, folder: Path, stage: Stage, out: Path
) -> None:
    """Train everything on pictures and clips."""
    model.requires_grad_(True)

    def step_loss(step: int) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return caption_loss(model, mixed_batch(stage.name, step)[0], train_tower=True)

    train(stage, model, step_loss, folder, on_save=lambda step: export_captioner(model, out))


def train_motion(
    model: LlavaForConditionalGeneration, folder: Path, stage: Stage, out: Path
) -> None:
    """Go on training everything, with a head that reads motion off the image tokens."""
    torch.manual_seed(3)
    reader = MotionReader(model)

    def step_loss(step: int) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return cast(torch.Tensor, reader(*mixed_batch(stage.name, step)))

    train(stage, reader, step_loss, folder, on_save=lambda step: export_captioner(model, out))


def main(arguments: list[str] | None = None) -> None:
    """Run all stages, score the result, then write the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/captioner"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    names = tuple(stage.name.upper() for stage in STAGES)
    parser.add_argument("--steps", type=int, nargs=len(STAGES), metavar=names)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    steps = options.steps or [stage.steps for stage in STAGES]
    stages = [replace(stage, steps=n) for stage, n in zip(STAGES, steps, strict=True)]
    torch.manual_seed(0)
    model = build_captioner()
    log.info("tower reads %s", train_tower(model.model.vision_tower, options.work, stages[0]))
    for run_stage, stage in zip(
        (train_words, train_together, train_motion), stages[1:], strict=True
    ):
        run_stage(model, options.work, stage, options.out)
    export_captioner(model, options.out)
    scores = str(options.out / "scores.json")
    evaluate(["--model", str(options.out), "--out", scores, "--frames", "8", "4", "16"])
    write_card(options.out, options.work, [stage.name for stage in stages])


if __name__ == "__main__":
    main()
