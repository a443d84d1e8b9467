"""Train the embedded EAGLE drafter for image tokens on the text-to-image model.

Usage: python -m adapters.tiny.images.train_eagle --out adapters/tiny/weights/image-eagle
Hidden states and laws of that model are made on the fly. A killed run continues where its last
checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from adapters.llamagen.checkpoints import load_gpt
from adapters.llamagen.conditioning import causal_mask
from adapters.llamagen.gpt import GPT
from adapters.tiny.run import Stage, train
from image_ar.discrete.eagle.network import ImageEagle, ImageEagleConfig
from image_ar.discrete.eagle.storage import save
from image_ar.discrete.eagle.training import loss, rollout

from .codes import stored_codes
from .eagle_card import write_eagle_card
from .gpt_trainee import CodeBatch, CodeData
from .train_gpt import EMBEDDED, HELD_OUT_PICTURES, PICTURES, load_texts

log = logging.getLogger(__name__)

STAGE = Stage("eagle", steps=500, rate=2e-3, warmup=30, decay=0.5, save_every=100)
DEPTH = 4
ROWS = 16
INNER = 384
_FIRST_BATCH = 20_000  # far from the batches that the target was trained on
_SEED = 11


def build_network(target: GPT) -> ImageEagle:
    """An untrained drafter for a target."""
    config = target.config
    network = ImageEagle(
        ImageEagleConfig(
            hidden_size=config.dim,
            vocab_size=config.vocab_size,
            num_heads=config.n_head,
            intermediate_size=INNER,
            grid=config.grid,
            lead=config.cls_token_num,
            norm_eps=config.norm_eps,
            rope_base=config.rope_base,
        )
    )
    network.reset_parameters(torch.Generator().manual_seed(_SEED))
    return network


@torch.no_grad()
def read(target: GPT, batch: CodeBatch) -> dict[str, Tensor]:
    """What the target reads and thinks of a batch, as rows of the drafter.

    Returns:
        ``embeds``, ``features`` and ``truth`` ``(rows, n, dim)``, ``positions`` ``(1, n)`` and
        ``seen`` ``(rows, n)``, see :func:`image_ar.discrete.eagle.training.rollout`.
    """
    condition = target.embed_condition(batch.inputs, batch.drop)
    embeds = torch.cat([condition, target.tok_embeddings(batch.codes)], 1)
    length = embeds.shape[1]
    places = torch.arange(length).unsqueeze(0)
    mask = causal_mask(batch.inputs["caption_mask"], length)
    hidden = target(embeds, places, mask)
    seen = torch.cat([batch.inputs["caption_mask"], torch.ones_like(batch.codes).bool()], 1)
    return {
        "embeds": embeds[:, 1:],
        "features": hidden[:, :-1],
        "truth": hidden[:, 1:],
        "positions": places[:, 1:],
        "seen": seen[:, 1:],
    }


def lesson(network: ImageEagle, target: GPT, batch: CodeBatch, depth: int) -> tuple[Tensor, Tensor]:
    """Loss of a batch, and the overlap of the two laws at every depth."""
    rows = read(target, batch)
    truth = rows.pop("truth")
    outputs = rollout(network, depth=depth, **rows)
    # The first row that counts holds the first code; the last one's law is of no code.
    first = target.config.cls_token_num - 1
    return loss([out[:, :-1] for out in outputs], truth[:, :-1], target.logits, first)


@torch.inference_mode()
def held_out(network: ImageEagle, target: GPT, data: CodeData) -> list[float]:
    """Mean overlap of the two laws at every depth, with the condition and without guidance."""
    found = [
        lesson(network, target, data.batch(step, ROWS, dropped=0.0), DEPTH)[1]
        for step in range(len(data.codes) // ROWS)
    ]
    return [round(value, 4) for value in torch.stack(found).mean(0).tolist()]


def main(arguments: list[str] | None = None) -> None:
    """Train, save the drafter and its card."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    texts = load_texts(options.target / "text_encoder")
    target = load_gpt(options.target / "gpt").float().eval().requires_grad_(False)
    data = CodeData(stored_codes(options.target / "vq", options.codes, options.pictures), texts)
    unseen = CodeData(
        stored_codes(options.target / "vq", options.codes, HELD_OUT_PICTURES, held_out=True),
        texts,
        held_out=True,
    )
    network = build_network(target)

    def step_loss(step: int) -> Tensor:
        return lesson(network, target, data.batch(_FIRST_BATCH + step, ROWS), DEPTH)[0]

    stage = replace(STAGE, steps=options.steps)
    train(stage, network, step_loss, options.work)
    save(network, options.out)
    scores: dict[str, Any] = {"overlap": held_out(network, target, unseen)}
    log.info("held out: %s", scores)
    (options.out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    write_eagle_card(options.out, options.work, stage, rows=ROWS, depth=DEPTH)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished drafter")
    parser.add_argument("--work", type=Path, default=Path("runs/image-eagle"), help="checkpoints")
    parser.add_argument("--codes", type=Path, default=Path("runs/codes"), help="stored codes")
    parser.add_argument("--target", type=Path, default=EMBEDDED, help="the text-to-image model")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=STAGE.steps)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
