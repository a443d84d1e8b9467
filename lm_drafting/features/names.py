"""Official names of a layer's weights, for a network that joins projections of one input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_JOINED = {
    "qkv_proj": tuple(f"self_attn.{name}_proj" for name in "qkv"),
    "gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
_RENAMED = {
    "o_proj": "self_attn.o_proj",
    "down_proj": "mlp.down_proj",
    "hidden_norm": "hidden_norm",
    "input_layernorm": "input_layernorm",
    "post_attention_layernorm": "post_attention_layernorm",
}


def to_official(state: dict[str, Tensor], prefix: str, layer: str, config: Any) -> None:
    """Split and rename a state dict's entries, in place.

    Args:
        state: Changed.
        prefix: Of the network's own entries.
        layer: Official name of the layer, "layers.0" or "midlayer".
        config: Heads, their width and the width of the feed-forward part.
    """
    shared = config.num_key_value_heads * config.head_dim
    sizes = {
        "qkv_proj": [config.num_attention_heads * config.head_dim, shared, shared],
        "gate_up_proj": [config.intermediate_size] * 2,
    }
    for kind in ("weight", "bias"):
        for ours, officials in _JOINED.items():
            if (joined := state.pop(f"{prefix}{ours}.{kind}", None)) is not None:
                parts = joined.split(sizes[ours])
                for official, part in zip(officials, parts, strict=True):
                    state[f"{prefix}{layer}.{official}.{kind}"] = part
        for ours, official in _RENAMED.items():
            if (whole := state.pop(f"{prefix}{ours}.{kind}", None)) is not None:
                state[f"{prefix}{layer}.{official}.{kind}"] = whole


def from_official(state: dict[str, Tensor], prefix: str, layer: str) -> None:
    """The reverse, before loading; absent entries stay absent, so strict loading reports them."""
    for kind in ("weight", "bias"):
        for ours, officials in _JOINED.items():
            keys = [f"{prefix}{layer}.{official}.{kind}" for official in officials]
            if all(key in state for key in keys):
                state[f"{prefix}{ours}.{kind}"] = torch.cat([state.pop(key) for key in keys])
        for ours, official in _RENAMED.items():
            if (whole := state.pop(f"{prefix}{layer}.{official}.{kind}", None)) is not None:
                state[f"{prefix}{ours}.{kind}"] = whole
