r"""Train the embedded MAR models on the latents of pictures.

Usage: python -m adapters.tiny.latents.train_mar causal --out adapters/tiny/weights/mar
       python -m adapters.tiny.latents.train_mar draft --out adapters/tiny/weights/mar-draft \
           --teacher adapters/tiny/weights/mar/model
       python -m adapters.tiny.latents.train_mar masked --out adapters/tiny/weights/mar-masked
A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from adapters.mar.causal import CausalMAR
from adapters.mar.checkpoints import load_mar, save_mar
from adapters.mar.config import CAUSAL, MASKED
from adapters.mar.mar import MAR
from adapters.tiny.images.gpt_shape import CLASS_NAMES
from adapters.tiny.run import Stage, train

from .mar_card import write_mar_card
from .mar_shape import DRAFT, mar_config
from .mar_trainee import DRAWS, Trainee, held_out_loss, mar_loss
from .store import LatentData, stored_latents

log = logging.getLogger(__name__)

# First at a constant rate, then with a falling one. The lesson and the smaller weight of flat
# background stay to the end: without them the class, which few vectors need, is forgotten.
STAGES = {
    CAUSAL: (
        Stage("causal-learn", steps=2400, rate=5e-3, warmup=50, decay=0.0, save_every=100),
        Stage("causal-settle", steps=600, rate=5e-3, warmup=10, decay=1.0, save_every=100),
    ),
    MASKED: (
        Stage("masked-learn", steps=2400, rate=5e-3, warmup=50, decay=0.0, save_every=100),
        Stage("masked-settle", steps=600, rate=5e-3, warmup=10, decay=1.0, save_every=100),
    ),
    DRAFT: (
        Stage("draft-learn", steps=1000, rate=5e-3, warmup=50, decay=0.0, save_every=100),
        Stage("draft-settle", steps=300, rate=5e-3, warmup=10, decay=1.0, save_every=100),
    ),
}
PICTURES, HELD_OUT_PICTURES = 25_600, 256
ROWS = 32
AVERAGE_DECAY = 0.998
# A stage has fewer steps than this.
_SECOND_STAGE = 100_000
EMBEDDED = Path("adapters/tiny/weights/mar")
NAMES = {CAUSAL: "tiny-mar", MASKED: "tiny-mar-masked", DRAFT: "tiny-mar-draft"}
# How the finished models are sampled when nothing else is asked for.
DEFAULTS = {"guidance_scale": 6.0, "temperature": 1.0, "num_inference_steps": 25}
_SEEDS = {CAUSAL: 20, MASKED: 21, DRAFT: 22}


def save_model(kind: str, model: MAR | CausalMAR, vae: Path, out: Path) -> None:
    """Write ``model/`` in bfloat16 and ``config.json`` into the folder of the finished model."""
    save_mar(model, out / "model", torch.bfloat16)
    config = {
        "model_type": "mar",
        "name": NAMES[kind],
        "vae": os.path.relpath(vae.resolve(), out.resolve()),
        "defaults": DEFAULTS,
        "classes": list(CLASS_NAMES),
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def train_stage(
    stage: Stage,
    trainee: Trainee,
    data: LatentData,
    options: argparse.Namespace,
    *,
    first: int,
    teacher: CausalMAR | MAR | None,
) -> None:
    """Train one stage whose batches are numbered from `first` on."""
    dropped = trainee.model.config.label_drop

    def step_loss(step: int) -> Tensor:
        trainee.update_average()
        batch = data.batch(first + step, options.rows, dropped)
        # The fused attention of CPUs is slow backwards in this number format.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            return mar_loss(trainee.model, batch, first + step, teacher, trainee.class_head)

    train(stage, trainee, step_loss, options.work)


def main(arguments: list[str] | None = None) -> None:
    """Make the latents, train both stages, save the folder and its card."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    kind = options.kind
    unseen = stored_latents(options.vae, options.latents, HELD_OUT_PICTURES, held_out=True)
    data = stored_latents(options.vae, options.latents, options.pictures)
    teacher = load_mar(options.teacher).float() if options.teacher else None
    torch.manual_seed(_SEEDS[kind])
    trainee = Trainee(mar_config(kind), AVERAGE_DECAY)
    lengths = options.steps or [stage.steps for stage in STAGES[kind]]
    stages = [replace(s, steps=n) for s, n in zip(STAGES[kind], lengths, strict=True)]
    loss = 0.0
    for stage, first in zip(stages, (0, _SECOND_STAGE), strict=True):
        train_stage(stage, trainee, data, options, first=first, teacher=teacher)
        save_model(kind, trainee.averaged, options.vae, options.out)
        loss = held_out_loss(trainee.averaged, unseen, options.rows)
        log.info("after %s, held out: %.4f", stage.name, loss)
    (options.work / f"{kind}-loss.json").write_text(json.dumps({"loss": loss}))
    write_mar_card(
        kind,
        options.out,
        options.work,
        [stage.name for stage in stages],
        pictures=options.pictures,
        rows=options.rows,
        threads=options.threads,
        taught=teacher is not None,
        draws=DRAWS,
        decay=AVERAGE_DECAY,
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=(CAUSAL, MASKED, DRAFT))
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/mar"), help="checkpoints")
    parser.add_argument("--latents", type=Path, default=Path("runs/latents"), help="stored latents")
    parser.add_argument("--vae", type=Path, default=EMBEDDED / "vae", help="the tokenizer")
    parser.add_argument(
        "--teacher", type=Path, help="a causal model whose predicted noise is matched as well"
    )
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rows", type=int, default=ROWS, help="pictures per step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, nargs=2, metavar=("LEARN", "SETTLE"))
    options = parser.parse_args(arguments)
    if options.teacher and options.kind == MASKED:
        parser.error("--teacher is for causal models and drafts: a masked one has other orders")
    return options


if __name__ == "__main__":
    main()
