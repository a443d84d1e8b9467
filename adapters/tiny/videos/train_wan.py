r"""Train the embedded video models on the latents of films.

Usage: python -m adapters.tiny.videos.train_wan drafter --out runs/wan/alone
       python -m adapters.tiny.videos.train_wan shallow --out runs/wan/shallow --weak runs/wan/alone
       python -m adapters.tiny.videos.train_wan target --out adapters/tiny/weights/wan/target \
           --start runs/wan/shallow --weak runs/wan/alone
       python -m adapters.tiny.videos.train_wan drafter --out adapters/tiny/weights/wan/drafter \
           --teacher adapters/tiny/weights/wan/target
The last command goes on where the first ended, now that there is a target to learn from.
A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from adapters.tiny.run import Stage, train
from adapters.wan.checkpoints import load_wan, save_folder

from .parallel import install_parallel
from .store import FilmData, stored_films
from .text_encoder import encode
from .wan_card import write_wan_card
from .wan_lessons import Lessons, Rows
from .wan_shape import DRAFT_STEPS, DRAFTER, SHALLOW, TARGET, WAN_SETTINGS
from .wan_trainee import Trainee, wan_loss

log = logging.getLogger(__name__)

STAGES = {
    SHALLOW: Stage("wan-target", steps=4400, rate=3e-3, warmup=100, decay=0.5, save_every=100),
    DRAFTER: Stage("wan-drafter", steps=3500, rate=3e-3, warmup=100, decay=0.5, save_every=100),
}
# Later stages: the target's with guidance away from the drafter, and the same again with more
# layers; the drafter's with the target's velocities to match.
GUIDED = Stage("wan-guided", steps=7200, rate=2e-3, warmup=100, decay=1.0, save_every=100)
DEEPENED = Stage("wan-deepened", steps=4500, rate=1.5e-3, warmup=100, decay=1.0, save_every=100)
TAUGHT = Stage("wan-taught", steps=1400, rate=2e-3, warmup=50, decay=1.0, save_every=100)
FILMS, OPENINGS, HELD_OUT_FILMS = 1000, 16000, 64
# A film is decided by its first block, which has only the prompt to go by; what follows mostly goes
# on. So most rows of a step are first blocks, of films of their own, and cost a twelfth each.
ROWS, OPENING_ROWS = 4, 32
AVERAGE_DECAY = 0.995
EMBEDDED = Path("adapters/tiny/weights/wan")
_SEEDS = {SHALLOW: 32, DRAFTER: 33, TARGET: 34}


class Text:
    """A trained text encoder, frozen.

    Args:
        folder: As ``train_video_text`` wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.encoder = T5EncoderModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> Tensor:
        """States of prompts, ``(prompts, tokens, width)``."""
        return encode(self.encoder, self.tokenizer, prompts)[0]


@torch.inference_mode()
def held_out_loss(model: Any, data: FilmData, text: Text, rows: int) -> float:
    """Mean loss over all whole batches of the data; the same noise every time."""
    losses = []
    for step in range(max(1, len(data.latents) // rows)):
        latents, prompts = data.batch(step, rows)
        losses.append(wan_loss(model, latents, text(prompts), step))
    return round(float(torch.stack(losses).mean()), 4)


def main(arguments: list[str] | None = None) -> None:
    """Make the latents, train, save the folder and its card."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    kind, text = options.kind, Text(options.text_encoder)
    unseen = stored_films(options.video_vae, options.latents, options.held_out, held_out=True)
    data = stored_films(options.video_vae, options.latents, options.films)
    openings = stored_films(options.video_vae, options.latents, options.openings, blocks=1)
    teacher, weaker = _frozen(options.teacher), _frozen(options.weak)
    later = [GUIDED] * bool(weaker) + [TAUGHT] * bool(teacher)
    torch.manual_seed(_SEEDS[kind])
    start = options.start and load_wan(options.start, dtype=torch.float32)
    trainee = Trainee(kind, AVERAGE_DECAY, start)
    stages = [DEEPENED] if start else [STAGES[kind], *later]
    if options.steps:
        stages = [replace(stage, steps=n) for stage, n in zip(stages, options.steps, strict=True)]
    rows = Rows(options.rows, options.opening_rows)
    lessons = Lessons(trainee, text, data, openings, rows, teacher, weaker)
    # A model that grew goes on where the two stages of the shallow one ended.
    for number, stage in enumerate(stages, 2 if start else 0):
        train(stage, trainee, lessons.of(number), options.work)
    trainee.update_average()
    save_folder(trainee.averaged, options.out, torch.bfloat16)
    replace(WAN_SETTINGS, draft_steps=DRAFT_STEPS if kind == DRAFTER else None).save(options.out)
    loss = held_out_loss(trainee.averaged, unseen, text, options.rows)
    log.info("held out: %.4f", loss)
    write_wan_card(
        kind,
        options.out,
        options.work,
        [stage.name for stage in stages],
        loss=loss,
        films=options.films,
        openings=options.openings,
        rows=rows,
        decay=AVERAGE_DECAY,
        threads=options.threads,
    )


def _frozen(folder: Path | None) -> Any:
    """A model that tells velocities and does not learn; None for None."""
    return folder and install_parallel(load_wan(folder, dtype=torch.float32))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=(TARGET, SHALLOW, DRAFTER))
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/wan"), help="checkpoints")
    parser.add_argument("--latents", type=Path, default=Path("runs/films"), help="stored latents")
    parser.add_argument("--video-vae", type=Path, default=EMBEDDED / "vae", help="the autoencoder")
    parser.add_argument("--text-encoder", type=Path, default=EMBEDDED / "text_encoder")
    parser.add_argument("--start", type=Path, help="the shallow model that the target grows from")
    parser.add_argument("--teacher", type=Path, help="a model whose velocities are matched as well")
    parser.add_argument("--weak", type=Path, help="a weaker model to be guided away from")
    parser.add_argument("--films", type=int, default=FILMS)
    parser.add_argument("--openings", type=int, default=OPENINGS, help="films cut to one block")
    parser.add_argument("--held-out", type=int, default=HELD_OUT_FILMS)
    parser.add_argument("--rows", type=int, default=ROWS, help="films per step")
    parser.add_argument("--opening-rows", type=int, default=OPENING_ROWS, help="and first blocks")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, nargs="+", help="of each stage")
    options = parser.parse_args(arguments)
    if bool(options.start) != (options.kind == TARGET):
        parser.error("the target, and nothing else, grows from a shallow model: --start")
    if options.weak and options.kind == DRAFTER:
        parser.error("--weak is for the shallow model and the target")
    if options.teacher and options.kind != DRAFTER:
        parser.error("--teacher is for the drafter")
    return options


if __name__ == "__main__":
    main()
