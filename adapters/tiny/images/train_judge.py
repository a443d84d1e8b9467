"""Train the judge on drawn pictures, worn as tokenizers wear them, always with true labels.

Usage: python -m adapters.tiny.images.train_judge --out adapters/tiny/weights/judge
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from adapters.tiny.run import Stage, train
from adapters.tiny.world.scene import HELD_OUT, Scene, sample_scene
from adapters.tiny.world.vocabulary import BACKGROUNDS

from .judge import ATTRIBUTES, CELLS, Judge, Readings, load_judge, save_judge
from .judge_card import write_judge_card
from .pictures import picture_array
from .wear import ARTEFACTS, Artefact, break_things, wear

STAGE = Stage("judge", steps=2000, rate=3e-3, decay=0.7)
BATCH = 32
BROKEN_SHARE = 0.06
# Seeds of its own, which no other model of the embedded set draws from.
_FIRST_SEED = 50_000_000
_NOT_ASKED = -100

Labels = dict[str, torch.Tensor]


def judge_scene(seed: int, *, held_out: bool = False) -> Scene:
    """Scene number `seed`: none to nine things, so that every cell is seen in every state."""
    if not 0 <= seed < HELD_OUT - _FIRST_SEED:
        raise ValueError(f"seed must be between 0 and {HELD_OUT - _FIRST_SEED - 1}, got {seed}")
    rng = random.Random(_FIRST_SEED + seed + HELD_OUT * held_out)
    count = rng.randrange(CELLS + 1)
    if count:
        return sample_scene(rng, count)
    return Scene(things=(), background=rng.choice(BACKGROUNDS))


def scene_labels(scenes: list[Scene]) -> Labels:
    """Labels of scenes: ``empty`` and the attributes ``(batch, 9)``, ``background`` ``(batch,)``.

    Attributes of cells without a thing are -100, which the loss passes over.
    """
    labels = {name: torch.full((len(scenes), CELLS), _NOT_ASKED) for name in ATTRIBUTES}
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            for name, values in ATTRIBUTES.items():
                labels[name][row, thing.cell] = values.index(getattr(thing, name))
    labels["empty"] = (labels["shape"] == _NOT_ASKED).long()
    labels["background"] = torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes])
    return labels


def draw(first: int, count: int, *, held_out: bool = False) -> tuple[torch.Tensor, Labels]:
    """Pixels ``(count, 3, 64, 64)`` in [0, 1] and labels of scenes numbered from `first`."""
    scenes = [judge_scene(first + index, held_out=held_out) for index in range(count)]
    arrays = np.stack([picture_array(scene) for scene in scenes])
    pixels = torch.from_numpy(arrays).permute(0, 3, 1, 2).float().div_(255)
    return pixels, scene_labels(scenes)


def judge_batch(step: int) -> tuple[torch.Tensor, Labels]:
    """Worn pictures of a step; what was broken is labelled as no thing."""
    generator = torch.Generator().manual_seed(_FIRST_SEED + step)
    pixels, labels = draw(step * BATCH, BATCH)
    pixels, broken = break_things(pixels, generator, BROKEN_SHARE)
    for name in ATTRIBUTES:
        labels[name][broken] = _NOT_ASKED
    labels["empty"][broken] = 1
    return wear(pixels, generator), labels


def judge_loss(readings: Readings, labels: Labels) -> torch.Tensor:
    """Sum of the cross entropies (nats): emptiness, four attributes of things, background.

    A batch without any thing has no loss for the attributes.
    """
    loss = functional.binary_cross_entropy_with_logits(readings.empty, labels["empty"].float())
    loss = loss + functional.cross_entropy(readings.background, labels["background"])
    things = (labels["shape"] != _NOT_ASKED).sum().clamp(min=1)
    for name, logits in readings.attributes.items():
        rows, truth = logits.flatten(0, 1), labels[name].flatten()
        total = functional.cross_entropy(rows, truth, ignore_index=_NOT_ASKED, reduction="sum")
        loss = loss + total / things
    return loss


def judge_accuracy(
    judge: Judge, count: int, artefact: Artefact | None = None, batch: int = 50
) -> dict[str, float]:
    """Shares of right answers on held-out pictures.

    Args:
        judge: Read in evaluation mode.
        count: Number of pictures.
        artefact: Applied to every picture.
        batch: Pictures at a time.

    Returns:
        For each attribute the share of true things whose cell is read as a thing with that value;
        for ``empty`` the share of all cells, for ``background`` and ``picture`` (everything
        right) the share of pictures.
    """
    judge.eval()
    generator = torch.Generator().manual_seed(HELD_OUT)
    hits: dict[str, list[torch.Tensor]] = {}
    with torch.inference_mode():
        for first in range(0, count, batch):
            pixels, labels = draw(first, min(batch, count - first), held_out=True)
            pixels = pixels if artefact is None else artefact(pixels, generator)
            for name, hit in _hits(judge(pixels), labels).items():
                hits.setdefault(name, []).append(hit)
    return {name: round(torch.cat(rows).float().mean().item(), 5) for name, rows in hits.items()}


def _hits(readings: Readings, labels: Labels) -> dict[str, torch.Tensor]:
    thing, empty = labels["empty"] == 0, readings.empty > 0
    right = {
        name: (logits.argmax(-1) == labels[name]) & ~empty
        for name, logits in readings.attributes.items()
    }
    hits = {name: value[thing] for name, value in right.items()}
    hits["empty"] = (empty == ~thing).flatten()
    hits["background"] = readings.background.argmax(-1) == labels["background"]
    cells = torch.stack(list(right.values())).all(0) | (~thing & empty)
    hits["picture"] = cells.all(1) & hits["background"]
    return hits


def broken_rejected(judge: Judge, count: int) -> float:
    """Share of broken things on held-out pictures that are read as no thing."""
    judge.eval()
    generator = torch.Generator().manual_seed(HELD_OUT)
    pixels, labels = draw(0, count, held_out=True)
    pixels, broken = break_things(pixels, generator, 0.5)
    with torch.inference_mode():
        empty = judge(pixels).empty > 0
    return round(empty[broken & (labels["empty"] == 0)].float().mean().item(), 5)


def score_judge(judge: Judge, count: int) -> dict[str, dict[str, float]]:
    """Accuracies on real renders, under each artefact, under a mixture as in training."""
    scores = {"as drawn": judge_accuracy(judge, count)}
    for name, artefact in ARTEFACTS.items():
        scores[name] = judge_accuracy(judge, count, artefact)
    scores["several"] = judge_accuracy(judge, count, lambda p, g: wear(p, g, clean=0.0))
    return scores


def main(arguments: list[str] | None = None) -> None:
    """Train, save, score what was saved, write the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/judge"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=STAGE.steps)
    parser.add_argument("--pictures", type=int, default=1000, help="held-out pictures to score")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(5)
    judge = Judge().to(memory_format=torch.channels_last)

    def step_loss(step: int) -> torch.Tensor:
        pixels, labels = judge_batch(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            readings = judge(pixels)
        return judge_loss(readings, labels)

    train(replace(STAGE, steps=options.steps), judge, step_loss, options.work)
    save_judge(judge, options.out)
    judge = load_judge(options.out)
    scores = score_judge(judge, options.pictures)
    rejected = broken_rejected(judge, options.pictures)
    result = {"pictures": options.pictures, "broken_rejected": rejected, "accuracy": scores}
    (options.out / "scores.json").write_text(json.dumps(result, indent=2) + "\n")
    write_judge_card(judge, options.out, options.work / f"{STAGE.name}.jsonl")
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
