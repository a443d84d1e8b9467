"""Official names of EAGLE-3's weights, for a network that joins projections of one input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_JOINED = {
    "qkv_proj": tuple(f"midlayer.self_attn.{name}_proj" for name in "qkv"),
    "gate_up_proj": ("midlayer.mlp.gate_proj", "midlayer.mlp.up_proj"),
}
_RENAMED = {
    "o_proj": "midlayer.self_attn.o_proj",
    "down_proj": "midlayer.mlp.down_proj",
    "hidden_norm": "midlayer.hidden_norm",
    "input_layernorm": "midlayer.input_layernorm",
    "post_attention_layernorm": "midlayer.post_attention_layernorm",
}


def to_official(state: dict[str, Tensor], prefix: str, sizes: Mapping[str, Sequence[int]]) -> None:
    """Split and rename a state dict's entries, in place; ``sizes`` are those of joined outputs."""
    for kind in ("weight", "bias"):
        for ours, officials in _JOINED.items():
            if (joined := state.pop(f"{prefix}{ours}.{kind}", None)) is not None:
                parts = joined.split(list(sizes[ours]))
                for official, part in zip(officials, parts, strict=True):
                    state[f"{prefix}{official}.{kind}"] = part
        for ours, official in _RENAMED.items():
            if (whole := state.pop(f"{prefix}{ours}.{kind}", None)) is not None:
                state[f"{prefix}{official}.{kind}"] = whole


def from_official(state: dict[str, Tensor], prefix: str) -> None:
    """The reverse, before loading; absent entries stay absent, so strict loading reports them."""
    for kind in ("weight", "bias"):
        for ours, officials in _JOINED.items():
            keys = [f"{prefix}{official}.{kind}" for official in officials]
            if all(key in state for key in keys):
                state[f"{prefix}{ours}.{kind}"] = torch.cat([state.pop(key) for key in keys])
        for ours, official in _RENAMED.items():
            if (whole := state.pop(f"{prefix}{official}.{kind}", None)) is not None:
                state[f"{prefix}{ours}.{kind}"] = whole
