"""Random MAR models of some thousand weights, and inputs for them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from adapters.mar.causal import CausalMAR
from adapters.mar.config import CAUSAL, MASKED, MARConfig
from adapters.mar.mar import MAR
from adapters.mar.vae import LatentVAE

VARIANTS = (MASKED, CAUSAL)
ROWS, COLUMNS, CELLS, WIDTH, CLASSES, BUFFER = 3, 4, 12, 4, 5, 2


def config_of(variant: str, **change: Any) -> MARConfig:
    fields: dict[str, Any] = {
        "variant": variant,
        "rows": ROWS,
        "columns": COLUMNS,
        "channels": WIDTH,
        "decoder_width": 24,
        "decoder_depth": 2,
        "decoder_heads": 3,
        "head_blocks": 2,
        "head_width": 20,
        "buffer": BUFFER,
        "classes": CLASSES,
    }
    if variant == MASKED:
        fields |= {"encoder_width": 16, "encoder_depth": 2, "encoder_heads": 2}
    return MARConfig(**{**fields, **change})


def random_model(config: MARConfig, seed: int = 0) -> MAR | CausalMAR:
    """Weights large enough that tokens, positions, classes and norms all matter."""
    model = CausalMAR(config) if config.variant == CAUSAL else MAR(config)
    generator = torch.Generator().manual_seed(seed)
    model.reset_parameters(generator, zero_output=False)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embed_learned" in name or "token" in name or "latent" in name or "class" in name:
                weight.mul_(40.0)
            elif weight.ndim == 1:
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return model.eval()


@lru_cache(maxsize=4)
def masked() -> MAR:
    model = random_model(config_of(MASKED))
    assert isinstance(model, MAR)
    return model.requires_grad_(False)


@lru_cache(maxsize=4)
def causal() -> CausalMAR:
    model = random_model(config_of(CAUSAL))
    assert isinstance(model, CausalMAR)
    return model.requires_grad_(False)


def random_tokens(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, CELLS, WIDTH, generator=torch.Generator().manual_seed(seed))


def random_vae(patch: int = 1) -> LatentVAE:
    """Three levels of the official kind: attention at the lowest resolution of the encoder only."""
    torch.manual_seed(0)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2 + ("AttnDownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
    )
    return LatentVAE(model, patch).requires_grad_(False).eval()
