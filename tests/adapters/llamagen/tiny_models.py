"""Random LlamaGen models of a few hundred weights, and inputs for them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from adapters.llamagen.config import CLASSES, IDENTITY, TEXT, GPTConfig
from adapters.llamagen.gpt import GPT
from adapters.llamagen.prompting import text_inputs

KINDS = (CLASSES, TEXT)
# A text model whose condition is not turned.
UNTURNED = "t2i-unturned"
CELLS, VOCAB, NUM_CLASSES, LENGTH, WIDTH = 16, 24, 5, 6, 12


def config_of(kind: str, **change: Any) -> GPTConfig:
    if kind == UNTURNED:
        return config_of(TEXT, condition_rope=IDENTITY, **change)
    rest = {"cls_token_num": LENGTH if kind == TEXT else 1, "num_classes": NUM_CLASSES}
    fields = {
        "dim": 32,
        "n_layer": 2,
        "n_head": 2,
        "multiple_of": 8,
        "vocab_size": VOCAB,
        "caption_dim": WIDTH,
        "model_type": kind,
        "block_size": CELLS,
    }
    return GPTConfig(**{**fields, **rest, **change})  # type: ignore[arg-type]


def random_gpt(config: GPTConfig, seed: int = 0) -> GPT:
    """Weights large enough that tokens, positions and conditions all matter."""
    model = GPT(config)
    model.reset_parameters(torch.Generator().manual_seed(seed), zero_output=False)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8.0 if weight.ndim == 2 else 1.0)
    return model.eval()


@lru_cache(maxsize=8)
def gpt_of(kind: str) -> GPT:
    return random_gpt(config_of(kind))


def inputs_of(kind: str, rows: int, scale: Any = 1.0, interval: int = -1) -> dict[str, Any]:
    """Another class or a text of another length in every row."""
    if kind == CLASSES:
        inputs: dict[str, Any] = {
            "input_ids": torch.zeros(rows, 1, dtype=torch.long),
            "labels": torch.arange(rows) % NUM_CLASSES,
            "cfg_interval": interval,
        }
    else:
        features = torch.randn(rows, LENGTH, WIDTH, generator=torch.Generator().manual_seed(5))
        lengths = torch.tensor([(2 + 3 * row) % LENGTH + 1 for row in range(rows)])
        mask = torch.arange(LENGTH) < lengths.unsqueeze(1)
        inputs = text_inputs(features, mask, 1.0, interval)
    inputs["guidance_scale"] = torch.as_tensor(scale, dtype=torch.float32).expand(rows).clone()
    return inputs


def random_codes(rows: int, count: int = CELLS, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, (rows, count), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def guided_logits(model: GPT, codes: Tensor, inputs: dict[str, Any]) -> Tensor:
    """``(rows, cells, vocab)`` after guidance, by two teacher-forced passes without a cache."""
    conditional = model.loss_logits(codes, inputs)
    null = torch.ones(codes.shape[0], dtype=torch.bool)
    unconditional = model.loss_logits(codes, inputs, drop=null)
    scale = inputs["guidance_scale"].view(-1, 1, 1)
    logits = unconditional + scale * (conditional - unconditional)
    applies = (scale > 1).expand(-1, codes.shape[1], -1).clone()
    if inputs["cfg_interval"] >= 0:
        # Code i + 1 comes from decoding step i; code 0 comes from the prompt.
        applies[:, inputs["cfg_interval"] + 2 :] = False
    return torch.where(applies, logits, conditional)
