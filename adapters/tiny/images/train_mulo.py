"""Train what MuLo-SD needs beside the text-to-image model: a low resolution, and the way up.

Usage: python -m adapters.tiny.images.train_mulo low --out adapters/tiny/weights/llamagen-low
       python -m adapters.tiny.images.train_mulo upsampler --out adapters/tiny/weights/upsampler
Both take pictures of 32 x 32 pixels, which the image tokenizer turns into 8 x 8 codes. A killed run
continues where its last checkpoint left off when started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from adapters.llamagen.checkpoints import save_gpt
from adapters.llamagen.config import GPTConfig
from adapters.llamagen.gpt import GPT
from adapters.llamagen.vq_checkpoints import load_vq
from adapters.tiny.run import Stage, train
from image_ar.discrete.mulo.storage import load, save
from image_ar.discrete.mulo.training import upsampler_loss, upsampler_scores
from image_ar.discrete.mulo.upsampler import Upsampler, UpsamplerConfig, start_from

from .codes import stored_codes
from .gpt_shape import text_gpt_config
from .gpt_trainee import CodeData, Trainee, held_out_loss
from .mulo_card import write_low_card, write_upsampler_card
from .pictures import GRID_SIDE, SIDE
from .train_gpt import (
    DEFAULTS,
    EMBEDDED,
    HELD_OUT_PICTURES,
    PICTURES,
    TEXT,
    load_texts,
    train_stage,
)

log = logging.getLogger(__name__)

LOW, UPSAMPLER = "low", "upsampler"
RATIO = 2
LOW_LAYERS = 4
LOW_STAGES = (
    Stage("low-learn", steps=1100, rate=3e-3, warmup=40, decay=0.0, save_every=100),
    Stage("low-settle", steps=500, rate=2e-3, warmup=10, decay=0.9, save_every=100),
)
UPSAMPLER_STAGE = Stage("upsampler", steps=1500, rate=3e-3, warmup=30, decay=0.6, save_every=100)
ROWS = {LOW: 32, UPSAMPLER: 32}
_SEEDS = {LOW: 10, UPSAMPLER: 11}


def low_gpt_config() -> GPTConfig:
    """Return the shape of the low-resolution model: half the layers, 8 x 8 codes."""
    return replace(
        text_gpt_config(),
        n_layer=LOW_LAYERS,
        block_size=(GRID_SIDE // RATIO) ** 2,
        # A feed-forward width of 256.
        ffn_dim_multiplier=0.75,
    )


def save_low(gpt: GPT, out: Path, vq: Path, text_encoder: Path, upsampler: str) -> None:
    """Write ``gpt/`` and ``config.json``; tokenizer and text encoder stay with the large model."""
    save_gpt(gpt, out / "gpt", torch.bfloat16)
    config = {
        "model_type": "llamagen",
        "name": "tiny-t2i-low",
        "grid": gpt.config.grid,
        "defaults": DEFAULTS[TEXT],
        "classes": None,
        "vq": f"../{vq.parent.name}/{vq.name}",
        "text_encoder": f"../{text_encoder.parent.name}/{text_encoder.name}",
        "upsampler": upsampler,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def train_low(options: argparse.Namespace) -> None:
    """Train both stages, save the folder and its card."""
    texts, side = load_texts(options.text_encoder), SIDE // RATIO
    held_out = stored_codes(options.vq, options.codes, HELD_OUT_PICTURES, held_out=True, side=side)
    codes = stored_codes(options.vq, options.codes, options.pictures, side=side)
    data, unseen = CodeData(codes, texts), CodeData(held_out, texts, held_out=True)
    trainee = Trainee(GPT(low_gpt_config()))
    scores = {}
    for stage, probe in zip(_stages(LOW_STAGES, options.steps), (True, False), strict=True):
        train_stage(stage, trainee, data, options, probe=probe)
        save_low(trainee.gpt, options.out, options.vq, options.text_encoder, options.upsampler)
        scores = held_out_loss(trainee.gpt, unseen, options.rows)
        log.info("after %s, held out: %s", stage.name, scores)
    names = [stage.name for stage in LOW_STAGES]
    write_low_card(options.out, options.work, names, scores, options.pictures, options.rows)


def code_pairs(
    vq: Path, work: Path, count: int, *, held_out: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the same pictures at both resolutions, ``(count, rows, columns)`` each."""
    low = stored_codes(vq, work, count, held_out=held_out, side=SIDE // RATIO)
    high = stored_codes(vq, work, count, held_out=held_out)
    small = GRID_SIDE // RATIO
    return low.reshape(-1, small, small), high.reshape(-1, GRID_SIDE, GRID_SIDE)


def train_upsampler(options: argparse.Namespace) -> None:
    """Train, save the folder and its card; scores are those of the weights on disk."""
    low, high = code_pairs(options.vq, options.codes, options.pictures)
    codebook = load_vq(options.vq).float().codebook
    network = Upsampler(UpsamplerConfig(len(codebook), RATIO, codebook.shape[1]))
    start_from(network, codebook)

    def step_loss(step: int) -> Tensor:
        places = np.arange(step * options.rows, (step + 1) * options.rows) % len(low)
        return upsampler_loss(network, _tensor(low[places]), _tensor(high[places]))

    (stage,) = _stages((UPSAMPLER_STAGE,), options.steps)
    train(stage, network, step_loss, options.work)
    save(network, options.out)
    small, large = code_pairs(options.vq, options.codes, HELD_OUT_PICTURES, held_out=True)
    scores = upsampler_scores(load(options.out), _tensor(small), _tensor(large))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    write_upsampler_card(options.out, options.work, scores, parameters, options.rows)


def main(arguments: list[str] | None = None) -> None:
    """Train one of the two parts."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    torch.manual_seed(_SEEDS[options.part])
    options.rows = options.rows or ROWS[options.part]
    (train_low if options.part == LOW else train_upsampler)(options)


def _tensor(codes: np.ndarray) -> Tensor:
    return torch.from_numpy(codes).long()


def _stages(stages: tuple[Stage, ...], steps: list[int] | None) -> list[Stage]:
    """The stages, with other lengths where these are given."""
    lengths = steps or [stage.steps for stage in stages]
    return [replace(stage, steps=n) for stage, n in zip(stages, lengths, strict=True)]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=(LOW, UPSAMPLER))
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished part")
    parser.add_argument("--work", type=Path, default=Path("runs/mulo"), help="checkpoints")
    parser.add_argument("--codes", type=Path, default=Path("runs/codes"), help="stored codes")
    parser.add_argument("--vq", type=Path, default=EMBEDDED / "vq", help="image tokenizer")
    parser.add_argument("--text-encoder", type=Path, default=EMBEDDED / "text_encoder")
    parser.add_argument(
        "--upsampler", default="../upsampler", help="where the low model says its up-sampler is"
    )
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rows", type=int, help="pictures per step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, nargs="+", help="two numbers for low, one otherwise")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
