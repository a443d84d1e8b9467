r"""Train the embedded MAR models on the latents of pictures.

Usage: python -m adapters.tiny.latents.train_mar causal --out adapters/tiny/weights/mar
       python -m adapters.tiny.latents.train_mar draft --out adapters/tiny/weights/mar-draft \
           --teacher adapters/tiny/weights/mar
       python -m adapters.tiny.latents.train_mar masked --out adapters/tiny/weights/mar-masked
A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from adapters.mar.causal import CausalMAR
from adapters.mar.checkpoints import save_mar
from adapters.mar.config import CAUSAL, MASKED
from adapters.mar.loading import load_target
from adapters.mar.mar import MAR
from adapters.tiny.images.gpt_shape import CLASS_NAMES
from adapters.tiny.run import Stage, train

from .drawings import stored_drawings
from .ends import DRAFT_STEPS, GUIDANCE, TARGET_STEPS, end_scores, ends_loss
from .mar_card import write_mar_card
from .mar_shape import DRAFT, mar_config
from .mar_trainee import DRAWS, Trainee, held_out_loss, mar_loss
from .store import LatentData, stored_latents

log = logging.getLogger(__name__)

# The last stages of a draft, see `ends`: told true pictures, then also what the target draws.
ENDS = Stage("draft-ends", steps=5400, rate=2e-3, warmup=20, decay=0.7, save_every=100)
DRAWN = Stage("draft-drawn", steps=5000, rate=2e-3, warmup=20, decay=0.7, save_every=100)
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
        ENDS,
        DRAWN,
    ),
}
PICTURES, HELD_OUT_PICTURES = 25_600, 256
DRAWINGS = 7680
ROWS = 32
# Pictures of a step in the last stages of the draft, where whole chains are drawn.
END_ROWS = 16
END_PICTURES = 96
# There, weight of the loss of single steps, so that the draft can still take as many as the target.
STEPS_WEIGHT = 0.3
AVERAGE_DECAY = 0.998
# A stage has fewer steps than this.
_NEXT_STAGE = 100_000
EMBEDDED = Path("adapters/tiny/weights/mar")
NAMES = {CAUSAL: "tiny-mar", MASKED: "tiny-mar-masked", DRAFT: "tiny-mar-draft"}
# How the finished models are sampled when nothing else is asked for.
DEFAULTS = {"guidance_scale": GUIDANCE, "temperature": 1.0, "num_inference_steps": TARGET_STEPS}
_SEEDS = {CAUSAL: 20, MASKED: 21, DRAFT: 22}


def save_model(kind: str, model: MAR | CausalMAR, vae: Path, out: Path) -> None:
    """Write ``model/`` in bfloat16 and ``config.json`` into the folder of the finished model."""
    save_mar(model, out / "model", torch.bfloat16)
    steps = DRAFT_STEPS if kind == DRAFT else TARGET_STEPS
    config = {
        "model_type": "mar",
        "name": NAMES[kind],
        "vae": os.path.relpath(vae.resolve(), out.resolve()),
        "defaults": {**DEFAULTS, "num_inference_steps": steps},
        "classes": list(CLASS_NAMES),
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def step_loss(
    trainee: Trainee, data: LatentData, options: argparse.Namespace, teacher: CausalMAR | MAR | None
) -> Callable[[int], Tensor]:
    """Loss of single denoising steps, as a function of the number of the batch."""
    dropped = trainee.model.config.label_drop

    def loss(step: int) -> Tensor:
        batch = data.batch(step, options.rows, dropped)
        # The fused attention of CPUs is slow backwards in this number format.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            return mar_loss(trainee.model, batch, step, teacher, trainee.class_head)

    return loss


def chain_loss(
    trainee: Trainee, data: Sequence[LatentData], teacher: Any
) -> Callable[[int], Tensor]:
    """Loss of a draft's whole chains and, with less weight, of single steps; in float32.

    Steps take turns with the data.
    """

    def loss(step: int) -> Tensor:
        turn, source = divmod(step, len(data))
        batch = data[source].batch(turn, END_ROWS, 0.0)
        draft: Any = trainee.model
        return ends_loss(draft, teacher, batch, step) + STEPS_WEIGHT * mar_loss(
            draft, batch, step, teacher
        )

    return loss


def train_stage(
    stage: Stage, trainee: Trainee, loss: Callable[[int], Tensor], first: int, work: Path
) -> None:
    """Train one stage whose batches are numbered from `first` on; the average follows."""

    def averaged_loss(step: int) -> Tensor:
        trainee.update_average()
        return loss(first + step)

    train(stage, trainee, averaged_loss, work)


def main(arguments: list[str] | None = None) -> None:
    """Make the latents, train all stages, save the folder and its card."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    kind = options.kind
    unseen = stored_latents(options.vae, options.latents, HELD_OUT_PICTURES, held_out=True)
    data = stored_latents(options.vae, options.latents, options.pictures)
    drawn: list[LatentData] = []
    teacher: Any = None
    if options.teacher:
        target = load_target(options.teacher, dtype=torch.float32)
        teacher = target.network
        drawn = [
            stored_drawings(target, options.teacher, options.latents, count, held_out=held_out)
            for count, held_out in ((options.drawings, False), (END_PICTURES, True))
        ]
    torch.manual_seed(_SEEDS[kind])
    trainee = Trainee(mar_config(kind), AVERAGE_DECAY)
    lengths = options.steps or [stage.steps for stage in STAGES[kind]]
    stages = [replace(s, steps=n) for s, n in zip(STAGES[kind], lengths, strict=True)]
    for number, stage in enumerate(stages):
        if stage.name == ENDS.name:
            loss = chain_loss(trainee, [data], teacher)
        elif stage.name == DRAWN.name:
            loss = chain_loss(trainee, [data, drawn[0]], teacher)
        else:
            loss = step_loss(trainee, data, options, teacher)
        train_stage(stage, trainee, loss, number * _NEXT_STAGE, options.work)
        save_model(kind, trainee.averaged, options.vae, options.out)
        unseen_loss = held_out_loss(trainee.averaged, unseen, options.rows)
        log.info("after %s, held out: %.4f", stage.name, unseen_loss)
    (options.work / f"{kind}-loss.json").write_text(json.dumps({"loss": unseen_loss}))
    if kind == DRAFT:
        draft: Any = trainee.averaged
        scores = end_scores(draft, teacher, drawn[1].batch(0, END_PICTURES, 0.0))
        log.info("distances from the target's ends: %s", scores)
        (options.out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    write_mar_card(
        kind,
        options.out,
        options.work,
        [stage.name for stage in stages],
        pictures=options.pictures,
        drawings=options.drawings,
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
    parser.add_argument("--teacher", type=Path, help="folder of the causal model to draft for")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--drawings", type=int, default=DRAWINGS, help="pictures by the teacher")
    parser.add_argument("--rows", type=int, default=ROWS, help="pictures per step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, nargs="+", help="of each stage")
    options = parser.parse_args(arguments)
    if options.teacher and options.kind != DRAFT:
        parser.error("--teacher is for drafts")
    if options.kind == DRAFT and not options.teacher:
        parser.error("a draft learns from the causal model: give --teacher")
    if options.steps and len(options.steps) != len(STAGES[options.kind]):
        names = ", ".join(stage.name for stage in STAGES[options.kind])
        parser.error(f"--steps needs a number for each stage: {names}")
    return options


if __name__ == "__main__":
    main()
