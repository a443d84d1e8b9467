"""Train the embedded EAGLE drafter for image tokens on the text-to-image model.

Usage: python -m adapters.tiny.images.train_eagle --out adapters/tiny/weights/image-eagle
It learns from pictures of the small world, as that model did; everything else is what `mmspec train
image-eagle` does. A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from adapters.llamagen.loading import load_target
from adapters.tiny.world.prompts import write_prompt
from image_ar.discrete.eagle.network import ImageEagle
from image_ar.discrete.eagle.recipe import Recipe, config_for
from image_ar.discrete.eagle.trainer import FINISHED, train
from mmspec.pipelines.image_options import Subject

from .codes import code_scene, stored_codes
from .gpt_shape import HEADS
from .train_gpt import EMBEDDED, HELD_OUT_PICTURES, PICTURES

log = logging.getLogger(__name__)

RECIPE = Recipe(
    steps=500, batch=16, rate=2e-3, held_out=HELD_OUT_PICTURES, measure_every=100, seed=11
)
INNER = 384
_FIRST_PROMPT = 320_000  # the target was trained on other prompts of the same pictures


def samples(vq: Path, codes: Path, pictures: int, held_out: int) -> tuple[list[Subject], Tensor]:
    """Pictures of the small world with their prompts, the held-out ones at the end.

    Args:
        vq: Folder of the image tokenizer.
        codes: Where codes are kept.
        pictures: How many to learn from.
        held_out: How many only measure.

    Returns:
        What they show, and their codes ``(pictures + held_out, cells)``.
    """
    found = [
        stored_codes(vq, codes, pictures),
        stored_codes(vq, codes, held_out, held_out=True),
    ]
    subjects = [
        Subject(prompt=write_prompt(code_scene(place, held_out=unseen), random.Random(turn)))
        for unseen, rows in zip((False, True), found, strict=True)
        for place, turn in enumerate(range(_FIRST_PROMPT, _FIRST_PROMPT + len(rows)))
    ]
    return subjects, torch.from_numpy(np.concatenate(found))


def main(arguments: list[str] | None = None) -> None:
    """Train, and copy the finished drafter with its card and scores."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    recipe = replace(RECIPE, steps=options.steps, held_out=options.held_out)
    target = load_target(options.target, dtype="float32")
    count = min(options.pictures, recipe.steps * recipe.batch)
    subjects, tokens = samples(options.target / "vq", options.codes, count, recipe.held_out)
    network = ImageEagle(config_for(target, HEADS, INNER))
    network.reset_parameters(torch.Generator().manual_seed(recipe.seed))
    scores = train(
        target,
        subjects,
        tokens,
        network,
        options.work,
        recipe,
        name="the embedded text-to-image model, `llamagen`",
        data="scenes of the small world, one prompt each (`adapters.tiny.images.train_eagle`)",
    )
    log.info("held out: %s", scores)
    options.out.mkdir(parents=True, exist_ok=True)
    for file in FINISHED:
        shutil.copy2(options.work / file, options.out / file)
    (options.out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished drafter")
    parser.add_argument("--work", type=Path, default=Path("runs/image-eagle"), help="checkpoints")
    parser.add_argument("--codes", type=Path, default=Path("runs/codes"), help="stored codes")
    parser.add_argument("--target", type=Path, default=EMBEDDED, help="the text-to-image model")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="most pictures")
    parser.add_argument("--held-out", type=int, default=RECIPE.held_out, help="measuring only")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
