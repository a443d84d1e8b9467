"""Train the text encoder as a parser whose answers can be read off the mean of its outputs.

Usage: python -m adapters.tiny.images.train_text_encoder --out FOLDER

LlamaGen's image tokens read a text only as an average over its positions, so that what belongs
together ("red" and "circle", a thing and its place) has to be told apart in the sum.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5EncoderModel
from transformers.utils import logging as transformers_logging

from adapters.tiny.export import export
from adapters.tiny.run import Stage, train
from adapters.tiny.world.prompt_parser import parse_prompt
from adapters.tiny.world.prompt_words import MAX_WISHED
from adapters.tiny.world.prompts import prompt_scene, write_prompt
from adapters.tiny.world.scene import HELD_OUT, Scene
from adapters.tiny.world.vocabulary import BACKGROUNDS

from .pictures import image_scene
from .text_encoder import (
    TEXT_DIM,
    build_text_encoder,
    build_tokenizer,
    encode,
    mean_features,
    tokenize,
)
from .text_labels import CELLS, LOOKS, NOTHING, SIDES, TextLabels, text_labels

log = logging.getLogger(__name__)

PARSER = Stage("parser", steps=1800, rate=4e-3, warmup=50, decay=0.6, save_every=250)
ROWS = 128
_FIRST_SEED = 200_000_000
_HELD_OUT_ROWS = 2048
# What a picture needs is what lies in which cell; the wish in order of mention is the second view.
_SCENE_WEIGHT = 1.0


def text_scene(seed: int, *, held_out: bool = False) -> Scene:
    """Scene number `seed` for prompts: things drawn apart from each other, or partly alike."""
    if seed % 2:
        return prompt_scene(random.Random(9 * HELD_OUT + seed + HELD_OUT * held_out))
    return image_scene(seed, held_out=held_out)


class Parser(nn.Module):
    """The encoder and the linear heads on the mean of its outputs; only the encoder is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder: T5EncoderModel = build_text_encoder()
        names = [len(values) for values in LOOKS.values()]
        self.widths = {
            "present": MAX_WISHED,
            "places": MAX_WISHED * CELLS,
            "relations": MAX_WISHED * (len(SIDES) + 1),
            "background": len(BACKGROUNDS) + 1,
            "filled": CELLS,
            **{f"slot_{look}": MAX_WISHED * (n + 1) for look, n in zip(LOOKS, names, strict=True)},
            **{f"cell_{look}": CELLS * n for look, n in zip(LOOKS, names, strict=True)},
        }
        self.heads = nn.ModuleDict(
            {name: nn.Linear(TEXT_DIM, width) for name, width in self.widths.items()}
        )

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Answers of all heads, ``(prompts, width)`` each."""
        mean = mean_features(encode(self.encoder, ids, mask), mask)
        return {name: head(mean) for name, head in self.heads.items()}


def parser_loss(answers: dict[str, Tensor], labels: TextLabels) -> Tensor:
    """Sum of the mean losses of all questions."""
    binary = functional.binary_cross_entropy_with_logits
    asked = labels.present.unsqueeze(-1).expand_as(labels.places).flatten(1)
    loss = binary(answers["present"], labels.present)
    loss = loss + binary(answers["places"], labels.places.flatten(1), weight=asked)
    loss = loss + _choice(answers["relations"], labels.relations)
    loss = loss + _choice(answers["background"], labels.background)
    scene = binary(answers["filled"], labels.filled) * CELLS / 3
    for index, look in enumerate(LOOKS):
        loss = loss + _choice(answers[f"slot_{look}"], labels.slots[..., index])
        scene = scene + _choice(answers[f"cell_{look}"], labels.looks[..., index])
    return loss + _SCENE_WEIGHT * scene


def _choice(answers: Tensor, labels: Tensor) -> Tensor:
    options = answers.unflatten(1, (labels[0].numel(), -1)).flatten(0, 1)
    return functional.cross_entropy(options, labels.flatten(), ignore_index=NOTHING)


def prompt_batch(first: int, rows: int, *, held_out: bool = False) -> tuple[list[str], TextLabels]:
    """Prompts of `rows` seeds from `first` on, and their labels."""
    seeds = range(first, first + rows)
    scenes = [text_scene(seed, held_out=held_out) for seed in seeds]
    prompts = [
        write_prompt(scene, random.Random(seed)) for scene, seed in zip(scenes, seeds, strict=True)
    ]
    return prompts, text_labels([parse_prompt(prompt) for prompt in prompts], scenes)


@torch.inference_mode()
def parser_scores(parser: Parser) -> dict[str, float]:
    """Share of right answers on held-out prompts, per question."""
    prompts, labels = prompt_batch(0, _HELD_OUT_ROWS, held_out=True)
    answers = parser(*tokenize(build_tokenizer(), prompts, None))
    asked = labels.present.bool()
    places = answers["places"].unflatten(1, (MAX_WISHED, CELLS)) > 0
    scores = {
        "count": _share((answers["present"] > 0).eq(asked).all(-1)),
        "places": _share(places.eq(labels.places.bool()).all(-1)[asked]),
        "relations": _right(answers["relations"], labels.relations),
        "background": _right(answers["background"], labels.background),
    }
    for index, look in enumerate(LOOKS):
        scores[look] = _right(answers[f"slot_{look}"], labels.slots[..., index])
    # Of things whose place is said, for that nobody can know the others.
    said = torch.zeros(len(prompts), CELLS, dtype=torch.bool)
    for index in range(MAX_WISHED):
        known = labels.places[:, index].sum(-1) == 1
        said |= labels.places[:, index].bool() & known.unsqueeze(-1)
    scores["placed filled"] = _share((answers["filled"] > 0)[said])
    for index, look in enumerate(LOOKS):
        seen = torch.where(said, labels.looks[..., index], NOTHING)
        scores[f"placed {look}"] = _right(answers[f"cell_{look}"], seen)
    return scores


def _right(answers: Tensor, labels: Tensor) -> float:
    options = answers.unflatten(1, (labels[0].numel(), -1)).argmax(-1)
    asked = labels.flatten(1) if labels.ndim > 1 else labels.unsqueeze(1)
    return _share(options.eq(asked)[asked != NOTHING])


def _share(right: Tensor) -> float:
    return round(right.float().mean().item(), 4)


def main(arguments: list[str] | None = None) -> None:
    """Train, save the encoder with its tokenizer, and log the held-out scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the encoder")
    parser.add_argument("--work", type=Path, default=Path("runs/text-encoder"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=PARSER.steps)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    torch.manual_seed(7)
    model, tokenizer = Parser(), build_tokenizer()

    def step_loss(step: int) -> Tensor:
        prompts, labels = prompt_batch(_FIRST_SEED + step * ROWS, ROWS)
        return parser_loss(model(*tokenize(tokenizer, prompts, None)), labels)

    def report(step: int) -> None:
        log.info("step %d: %s", step, parser_scores(model))

    stage = replace(PARSER, steps=options.steps)
    train(stage, model, step_loss, options.work, on_save=report)
    export(model.encoder, tokenizer, options.out)


if __name__ == "__main__":
    main()
