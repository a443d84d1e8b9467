"""Train the text encoder of the video models as a parser: a shape's word knows all of its thing.

Usage: python -m adapters.tiny.videos.train_video_text --out adapters/tiny/weights/wan/text_encoder
A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils import logging as transformers_logging

from adapters.tiny.export import export
from adapters.tiny.images.text_encoder import EOS
from adapters.tiny.run import Stage, train
from adapters.tiny.world.films import film_from_seed
from adapters.tiny.world.motion_prompts import parse_motion_prompt, write_motion_prompt
from adapters.tiny.world.vocabulary import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SIZES
from adapters.tiny.world.wishes import ALL_CELLS

from .text_card import write_text_card
from .text_encoder import TEXT_DIM, build_text_encoder, build_tokenizer, encode

log = logging.getLogger(__name__)

PARSER = Stage("video-parser", steps=1000, rate=4e-3, warmup=50, decay=0.6, save_every=250)
ROWS = 64
_FIRST_SEED = 200_000_000
_HELD_OUT_ROWS = 512
# One more answer than values where a prompt may leave it open.
_ANSWERS = {
    "shape": len(SHAPES),
    "colour": len(COLOURS) + 1,
    "size": len(SIZES) + 1,
    "cell": len(ALL_CELLS) + 1,
    "motion": len(MOTIONS),
}
_TONES = len(BACKGROUNDS) + 1


class Parser(nn.Module):
    """The encoder, and linear heads on the words of shapes and on the end mark; heads are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = build_text_encoder()
        self.tokenizer = build_tokenizer()
        self.shapes = torch.tensor(self.tokenizer.convert_tokens_to_ids(list(SHAPES)))
        sizes = {**_ANSWERS, "background": _TONES}
        self.heads = nn.ModuleDict({name: nn.Linear(TEXT_DIM, n) for name, n in sizes.items()})

    def forward(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Logits: a row for each thing in the order of the prompts, and for each background."""
        states, ids = encode(self.encoder, self.tokenizer, prompts)
        things, ends = states[torch.isin(ids, self.shapes)], states[ids == EOS]
        answers = {name: self.heads[name](things) for name in _ANSWERS}
        return {**answers, "background": self.heads["background"](ends)}


def parser_labels(prompts: Sequence[str]) -> dict[str, Tensor]:
    """What the heads are to answer, ``(things,)`` each and ``(prompts,)`` for the background."""
    rows: dict[str, list[int]] = {name: [] for name in (*_ANSWERS, "background")}
    for prompt in prompts:
        asked = parse_motion_prompt(prompt)
        tone = asked.wish.background
        rows["background"].append(BACKGROUNDS.index(tone) if tone else len(BACKGROUNDS))
        for thing, motion in zip(asked.wish.things, asked.motions, strict=True):
            rows["shape"].append(SHAPES.index(thing.shape))
            colour, size = thing.colour, thing.size
            rows["colour"].append(COLOURS.index(colour) if colour else len(COLOURS))
            rows["size"].append(SIZES.index(size) if size else len(SIZES))
            placed = len(thing.cells) == 1
            rows["cell"].append(min(thing.cells) if placed else len(ALL_CELLS))
            rows["motion"].append(MOTIONS.index(motion))
    return {name: torch.tensor(values) for name, values in rows.items()}


def parser_prompts(first: int, rows: int, *, held_out: bool = False) -> list[str]:
    """Prompts of films of `rows` seeds from `first` on."""
    return [
        write_motion_prompt(film_from_seed(seed, held_out=held_out), random.Random(seed))
        for seed in range(first, first + rows)
    ]


def parser_loss(parser: Parser, prompts: Sequence[str]) -> Tensor:
    """Sum of the mean losses of all questions."""
    answers, labels = parser(prompts), parser_labels(prompts)
    losses = [functional.cross_entropy(answers[name], labels[name]) for name in labels]
    return torch.stack(losses).sum()


@torch.inference_mode()
def parser_scores(parser: Parser, rows: int = _HELD_OUT_ROWS) -> dict[str, float]:
    """Share of right answers on held-out prompts, per question."""
    prompts = parser_prompts(0, rows, held_out=True)
    answers, labels = parser(prompts), parser_labels(prompts)
    return {
        name: round(float((answers[name].argmax(-1) == labels[name]).float().mean()), 4)
        for name in labels
    }


def main(arguments: list[str] | None = None) -> None:
    """Train, save the encoder with its tokenizer, and write its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the encoder")
    parser.add_argument("--work", type=Path, default=Path("runs/video-text"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=PARSER.steps)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    torch.manual_seed(31)
    model = Parser()
    train(
        replace(PARSER, steps=options.steps),
        model,
        lambda step: parser_loss(model, parser_prompts(_FIRST_SEED + step * ROWS, ROWS)),
        options.work,
        on_save=lambda step: log.info("step %d: %s", step, parser_scores(model)),
    )
    export(model.encoder, model.tokenizer, options.out)
    scores = parser_scores(model)
    write_text_card(options.out, options.work, PARSER.name, scores, ROWS, options.threads)


if __name__ == "__main__":
    main()
