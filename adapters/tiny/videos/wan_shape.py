"""Shapes of the embedded video models: a deep target and a drafter of a quarter of its cost.

The target grew from a shallower one, which is a model of its own.
"""

from __future__ import annotations

from typing import Any

from adapters.tiny.world.films import FILM_RATE
from adapters.wan.settings import WanSettings

from .text_encoder import TEXT_DIM, TEXT_TOKENS
from .vae_shape import CHANNELS, SIDE

TARGET, SHALLOW, DRAFTER = "target", "shallow", "drafter"
BLOCK_FRAMES, BLOCKS = 3, 6
HEADS, HEAD_DIM = 4, 32
_LAYERS = {TARGET: 14, SHALLOW: 12, DRAFTER: 3}
# Behind a clean past the first step decides nearly all: more of them draft no better.
DRAFT_STEPS = 1
# The autoencoder and the text encoder lie beside the folder of the transformer.
WAN_SETTINGS = WanSettings(
    block_frames=BLOCK_FRAMES,
    text_tokens=TEXT_TOKENS,
    blocks=BLOCKS,
    height=SIDE,
    width=SIDE,
    fps=FILM_RATE,
    shared="..",
)


def wan_config(kind: str) -> dict[str, Any]:
    """Arguments of ``WanTransformer3DModel`` for ``target``, ``shallow`` or ``drafter``."""
    return {
        "patch_size": (1, 2, 2),
        "num_attention_heads": HEADS,
        "attention_head_dim": HEAD_DIM,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "text_dim": TEXT_DIM,
        "freq_dim": 64,
        "ffn_dim": 2 * HEADS * HEAD_DIM,
        "num_layers": _LAYERS[kind],
        "cross_attn_norm": True,
        "rope_max_seq_len": 256,
    }
