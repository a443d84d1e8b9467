"""A tiny random LlamaGen with guidance, and a drafter for it."""

from __future__ import annotations

from typing import Any

import torch

from adapters.image_tokens.target import ImageTokenTarget
from adapters.llamagen.config import GPTConfig
from adapters.llamagen.decoder import LlamaGenDecoder
from adapters.llamagen.gpt import GPT
from image_ar.discrete.eagle.network import ImageEagle, ImageEagleConfig
from image_ar.discrete.grid import Grid

GRID, VOCAB, LEAD, CAPTION = 4, 24, 5, 6


class NoPictures:
    """An image decoder without pixels."""

    codebook = torch.eye(VOCAB)
    codebook_normalized = True

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Given:
    """Hands out the inputs it was made with."""

    classes = None

    def __call__(self, *args: Any) -> dict[str, Any]:
        raise NotImplementedError


def target(seed: int = 0, sharp: float = 40.0) -> ImageTokenTarget:
    config = GPTConfig(
        dim=32,
        n_layer=2,
        n_head=2,
        multiple_of=8,
        vocab_size=VOCAB,
        caption_dim=CAPTION,
        cls_token_num=LEAD,
        model_type="t2i",
        block_size=GRID * GRID,
    )
    model = GPT(config).requires_grad_(False)
    model.reset_parameters(torch.Generator().manual_seed(seed), zero_output=False)
    model.output.weight.mul_(sharp)
    model.tok_embeddings.weight.mul_(20)
    return ImageTokenTarget(
        LlamaGenDecoder(model),
        grid=Grid(GRID, GRID),
        conditioner=Given(),
        image_decoder=NoPictures(),
    )


def inputs(rows: int, scale: float = 1.0, seed: int = 0) -> dict[str, Any]:
    """Left-padded features of texts of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, LEAD, dtype=torch.bool)
    for row in range(rows):
        mask[row, : row % 3] = False
    caption = torch.randn(rows, LEAD, CAPTION, generator=generator) * mask.unsqueeze(-1)
    return {
        "input_ids": torch.zeros(rows, LEAD, dtype=torch.long),
        "caption": caption,
        "caption_mask": mask,
        "guidance_scale": torch.full((rows,), scale),
        "cfg_interval": -1,
    }


def network(seed: int = 1) -> ImageEagle:
    config = ImageEagleConfig(
        hidden_size=32,
        vocab_size=VOCAB,
        num_heads=2,
        intermediate_size=48,
        grid=GRID,
        lead=LEAD,
    )
    made = ImageEagle(config)
    made.reset_parameters(torch.Generator().manual_seed(seed))
    return made.requires_grad_(False)
