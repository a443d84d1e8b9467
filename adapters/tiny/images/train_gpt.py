r"""Train the embedded LlamaGen models on the codes of pictures.

Usage: python -m adapters.tiny.images.train_gpt class --out adapters/tiny/weights/llamagen-c2i
       python -m adapters.tiny.images.train_gpt text --out adapters/tiny/weights/llamagen \
           --start adapters/tiny/weights/llamagen-c2i/gpt --text-encoder PARSER
PARSER is what train_text_encoder made; it learns along and is saved with the model.
A killed run continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, T5EncoderModel
from transformers.utils import logging as transformers_logging

from adapters.llamagen.checkpoints import load_gpt, save_gpt
from adapters.llamagen.gpt import GPT
from adapters.tiny.run import Stage, train

from .codes import stored_codes
from .gpt_card import write_gpt_card
from .gpt_shape import CLASS_NAMES, class_gpt_config, text_gpt_config
from .gpt_trainee import CodeData, Texts, Trainee, held_out_loss

log = logging.getLogger(__name__)

TEXT, CLASS = "text", "class"
# First with lessons and with less weight on the background, then the plain loss of all codes: the
# law the model ends with is the one of the pictures.
STAGES = {
    TEXT: (
        Stage("text-learn", steps=5000, rate=7e-3, warmup=40, decay=0.0, save_every=100),
        Stage("text-settle", steps=300, rate=5e-3, warmup=10, decay=0.9, save_every=100),
    ),
    CLASS: (
        Stage("class-learn", steps=500, rate=2e-3, warmup=20, decay=0.0, save_every=60),
        Stage("class-settle", steps=250, rate=2e-3, warmup=10, decay=0.9, save_every=100),
    ),
}
PICTURES, HELD_OUT_PICTURES = 51_200, 256
ROWS = 32
# A stage has fewer steps than this.
_SECOND_STAGE = 100_000
EMBEDDED = Path("adapters/tiny/weights/llamagen")
_SEEDS = {TEXT: 8, CLASS: 9}
# How the finished models are sampled when nothing else is asked for.
DEFAULTS = {
    TEXT: {"guidance_scale": 2.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0},
    CLASS: {"guidance_scale": 2.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0},
}


def build_gpt(kind: str, start: Path | None = None) -> GPT:
    """Build a transformer; with `start`, weights of the same name and shape come from there."""
    gpt = GPT(text_gpt_config() if kind == TEXT else class_gpt_config())
    if start is not None:
        own = gpt.state_dict()
        found = load_gpt(start).float().state_dict()
        taken = {n: w for n, w in found.items() if n in own and own[n].shape == w.shape}
        gpt.load_state_dict(taken, strict=False)
        log.info("%d of %d weights from %s", len(taken), len(own), start)
    return gpt


def save_model(kind: str, gpt: GPT, tokenizer: Path, out: Path) -> None:
    """Write ``gpt/`` in bfloat16 and ``config.json`` into the folder of the finished model."""
    save_gpt(gpt, out / "gpt", torch.bfloat16)
    config = {
        "model_type": "llamagen",
        "name": f"tiny-{'t2i' if kind == TEXT else 'c2i'}",
        "grid": gpt.config.grid,
        "defaults": DEFAULTS[kind],
        "classes": None if kind == TEXT else list(CLASS_NAMES),
    }
    if tokenizer.resolve() != (out / "vq").resolve():
        config["vq"] = f"../{tokenizer.parent.name}/{tokenizer.name}"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def train_stage(
    stage: Stage, trainee: Trainee, data: CodeData, options: argparse.Namespace, *, probe: bool
) -> None:
    """Train one stage; the second has batches of its own."""
    first = 0 if probe else _SECOND_STAGE

    def step_loss(step: int) -> Tensor:
        batch = data.batch(first + step, options.rows)
        with torch.autocast("cpu", torch.bfloat16):
            loss: Tensor = trainee(batch, probe=probe)
        return loss

    train(stage, trainee, step_loss, options.work)


def load_texts(folder: Path, learns: bool = False) -> Texts:
    """Load the text encoder; ``learns`` trains it along with the transformer."""
    encoder = T5EncoderModel.from_pretrained(folder, dtype=torch.float32)
    return Texts(encoder, AutoTokenizer.from_pretrained(folder), learns)


def save_texts(texts: Texts, folder: Path) -> None:
    """Write encoder and tokenizer, in bfloat16; the encoder at hand keeps its number format."""
    state = {name: weight.to(torch.bfloat16) for name, weight in texts.encoder.state_dict().items()}
    texts.encoder.save_pretrained(folder, state_dict=state)
    texts.tokenizer.save_pretrained(folder)


def main(arguments: list[str] | None = None) -> None:
    """Make the codes, train both stages, save the folder and its card."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    kind, vq = options.kind, options.vq
    texts = load_texts(options.text_encoder, learns=True) if kind == TEXT else None
    held_out = stored_codes(vq, options.codes, HELD_OUT_PICTURES, held_out=True)
    codes = stored_codes(vq, options.codes, options.pictures)
    data, unseen = CodeData(codes, texts), CodeData(held_out, texts, held_out=True)
    torch.manual_seed(_SEEDS[kind])
    trainee = Trainee(build_gpt(kind, options.start), texts.encoder if texts else None)
    lengths = options.steps or [stage.steps for stage in STAGES[kind]]
    stages = [replace(s, steps=n) for s, n in zip(STAGES[kind], lengths, strict=True)]
    scores = {}
    for stage, probe in zip(stages, (True, False), strict=True):
        train_stage(stage, trainee, data, options, probe=probe)
        save_model(kind, trainee.gpt, vq, options.out)
        if texts is not None:
            save_texts(texts, options.out / "text_encoder")
        scores = held_out_loss(trainee.gpt, unseen, options.rows)
        log.info("after %s, held out: %s", stage.name, scores)
    (options.work / f"{kind}-loss.json").write_text(json.dumps(scores))
    names = [stage.name for stage in stages]
    write_gpt_card(
        kind, options.out, options.work, names, pictures=options.pictures, rows=options.rows
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=(TEXT, CLASS))
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/gpt"), help="checkpoints")
    parser.add_argument("--codes", type=Path, default=Path("runs/codes"), help="stored codes")
    parser.add_argument("--vq", type=Path, default=EMBEDDED / "vq", help="image tokenizer")
    parser.add_argument(
        "--text-encoder", type=Path, default=Path("runs/parser"), help="the encoder as a parser"
    )
    parser.add_argument("--start", type=Path, help="folder of a transformer to start from")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rows", type=int, default=ROWS, help="pictures per step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, nargs=2, metavar=("LEARN", "SETTLE"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
