"""Train the draft model that never sees a picture: two Llama layers on the captions alone.

Usage: python -m adapters.tiny.train_blind --out adapters/tiny/weights/draft-text
It reads the captioner's token ids with the image tokens left out.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from .card import write_blind_card
from .data import draw_prompt, encode, prompt_ids
from .export import export
from .model import EOS, PAD, build_tokenizer, text_config
from .run import Stage, train
from .world.captions import caption, clip_caption
from .world.clips import clip_from_seed
from .world.scene import scene_from_seed
from .world.vocabulary import CLIP_PROMPTS, PICTURE_PROMPTS

BLIND = Stage("blind", steps=600, rate=3e-3, save_every=300, decay=0.7)
ROWS = 64
HELD_OUT_ROWS = 512
CLIP_SHARE = 0.25
_FIRST_SEED = 30_000_000
_IGNORED = -100  # of the cross entropy


def build_blind() -> LlamaForCausalLM:
    """Build the untrained draft model, its token ids those of the captioner."""
    base = text_config()
    config = LlamaConfig(
        vocab_size=base.vocab_size,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=32,
        max_position_embeddings=base.max_position_embeddings,
        tie_word_embeddings=False,
        pad_token_id=base.pad_token_id,
        bos_token_id=base.bos_token_id,
        eos_token_id=base.eos_token_id,
    )
    return LlamaForCausalLM(config)


def blind_row(seed: int, *, held_out: bool = False) -> tuple[list[int], int]:
    """Token ids of a prompt and its caption, and where the caption starts."""
    rng = random.Random(seed)
    is_clip = rng.random() < CLIP_SHARE
    prompt, style = draw_prompt(rng, CLIP_PROMPTS if is_clip else PICTURE_PROMPTS)
    if is_clip:
        text = clip_caption(clip_from_seed(seed, held_out=held_out), style)
    else:
        text = caption(scene_from_seed(seed, held_out=held_out), style)
    head = prompt_ids(prompt, images=0)
    return [*head, *encode(text), EOS], len(head)


def blind_batch(first: int, count: int, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
    """Token ids ``(count, longest)``, and the same with -100 where nothing is to be guessed."""
    rows = [blind_row(first + index, held_out=held_out) for index in range(count)]
    ids = torch.full((count, max(len(row) for row, _ in rows)), PAD)
    targets = torch.full_like(ids, _IGNORED)
    for index, (row, start) in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        targets[index, start : len(row)] = ids[index, start : len(row)]
    return ids, targets


def blind_loss(model: LlamaForCausalLM, step: int) -> Tensor:
    """Cross entropy of the captions of a step."""
    ids, targets = blind_batch(_FIRST_SEED + step * ROWS, ROWS)
    logits = model(input_ids=ids, use_cache=False).logits
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())


@torch.inference_mode()
def blind_scores(model: LlamaForCausalLM, rows: int = HELD_OUT_ROWS) -> dict[str, float]:
    """Nats a word of held-out captions, and the share of words that are the likeliest one."""
    ids, targets = blind_batch(0, rows, held_out=True)
    logits, wanted = model(input_ids=ids, use_cache=False).logits[:, :-1], targets[:, 1:]
    loss = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
    right = (logits.argmax(-1) == wanted)[wanted != _IGNORED].float().mean()
    return {"rows": rows, "loss": float(loss), "right": float(right)}


def main(arguments: list[str] | None = None) -> None:
    """Train, save the folder and its model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/blind"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=BLIND.steps)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(2)
    model = build_blind()
    stage = replace(BLIND, steps=options.steps)
    train(stage, model, lambda step: blind_loss(model, step), options.work)
    export(model, build_tokenizer(), options.out)
    saved = LlamaForCausalLM.from_pretrained(options.out, dtype=torch.float32)
    write_blind_card(options.out, options.work, model.num_parameters(), blind_scores(saved))


if __name__ == "__main__":
    main()
