"""Train the tiny captioner: tower, then language model, then all together.

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

import torch
from transformers import LlavaForConditionalGeneration
from transformers.utils import logging as transformers_logging

from .captioner import caption_loss
from .card import write_card
from .data import Batch, clip_example, collate, picture_example
from .export import export_captioner
from .model import build_captioner
from .run import Stage, train
from .tower import STAGE as TOWER
from .tower import train_tower

log = logging.getLogger(__name__)

WORDS = Stage("words", steps=420, rate=2e-3, warmup=60, decay=0.2)
TOGETHER = Stage("together", steps=1300, rate=1.5e-3, warmup=40, decay=0.6)
PICTURES_A_BATCH = 32
FRAMES_A_BATCH = 64
_CLIPS_A_BATCH = 20
# Every second batch holds clips, and every second clip batch another number of frames than eight,
# mostly fewer: more clips for the same work. Two frames cannot tell a bounce from a move up.
_CLIP_EVERY = 2
_ODD_CLIP_EVERY = 2
_ODD_FRAMES = (3, 4, 4, 5, 6, 12, 16)
# Each stage reads its own stretch of the training seeds.
_FIRST_SEED = {"words": 10_000_000, "together": 20_000_000}


def picture_batch(stage: str, step: int) -> Batch:
    """Pictures of a step, all new."""
    first = _FIRST_SEED[stage] + step * PICTURES_A_BATCH
    return collate([picture_example(first + index) for index in range(PICTURES_A_BATCH)])


def clip_batch(stage: str, step: int) -> Batch:
    """Clips of a step, all with the same number of frames."""
    odd = step // _CLIP_EVERY % _ODD_CLIP_EVERY == 0
    frames = random.Random(step).choice(_ODD_FRAMES) if odd else 8
    size = min(_CLIPS_A_BATCH, FRAMES_A_BATCH // frames)
    first = _FIRST_SEED[stage] + step * PICTURES_A_BATCH
    return collate([clip_example(first + index, frames) for index in range(size)])


def mixed_batch(stage: str, step: int) -> Batch:
    """Pictures, with clips every second step."""
    is_clips = step % _CLIP_EVERY == _CLIP_EVERY - 1
    return clip_batch(stage, step) if is_clips else picture_batch(stage, step)


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
            return caption_loss(model, mixed_batch(stage.name, step), train_tower=True)

    train(stage, model, step_loss, folder, on_save=lambda step: export_captioner(model, out))


def main(arguments: list[str] | None = None) -> None:
    """Run the three stages, then write the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/captioner"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, nargs=3, metavar=("TOWER", "WORDS", "TOGETHER"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    steps = options.steps or (TOWER.steps, WORDS.steps, TOGETHER.steps)
    torch.manual_seed(0)
    model = build_captioner()
    stages = [
        replace(stage, steps=count)
        for stage, count in zip((TOWER, WORDS, TOGETHER), steps, strict=True)
    ]
    log.info("tower reads %s", train_tower(model.model.vision_tower, options.work, stages[0]))
    train_words(model, options.work, stages[1], options.out)
    train_together(model, options.work, stages[2], options.out)
    export_captioner(model, options.out)
    write_card(options.out, options.work, [stage.name for stage in stages])


if __name__ == "__main__":
    main()
