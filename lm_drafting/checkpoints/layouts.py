"""Canonical key names of every kind of drafter, with their shapes in terms of its configuration.

A dimension is written as a product of configuration fields and whole numbers, such as
``2*hidden_size``, so that a message about a wrong shape explains itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

Shape = tuple[str, ...]
Keys = dict[str, Shape]

# Stored by some projects and not part of the network here; a key with one of these endings goes.
DROPPED = {
    "embed_tokens.weight": "the target's own table is used",
    "verifier_lm_head.weight": "a copy of the target's head, for training",
    "verifier_norm.weight": "a copy of the target's norm, for training",
    "rotary_emb.inv_freq": "rotary frequencies follow from the configuration",
}

_H = "hidden_size"
_PAIR = "2*hidden_size"
_INNER = "intermediate_size"
_QUERIES = "num_attention_heads*head_dim"
_SHARED = "num_key_value_heads*head_dim"
_ADAPTOR = "adaptor_heads*adaptor_head_dim"
_DEFAULT_LAYERS = ("2", "N // 2", "N - 3")  # what EAGLE-3 reads of a target with N layers


@dataclass(frozen=True)
class Layout:
    """The weights of one kind of drafter.

    Attributes:
        required: Keys that are always there.
        optional: Groups of keys, all there or all absent, by the configuration's name for it.
    """

    required: Keys
    optional: dict[str, Keys]

    def stored(self, keys: Collection[str]) -> dict[str, bool]:
        """Which optional groups are among these keys, even in part."""
        return {name: any(key in keys for key in group) for name, group in self.optional.items()}


def layout_of(kind: str, config: Mapping[str, Any]) -> Layout:
    """The layout of a kind of drafter with this configuration."""
    if kind == "eagle3":
        return _eagle3(len(config.get("target_layers") or _DEFAULT_LAYERS))
    return _LAYOUTS[kind]


def size(dimension: str, config: Mapping[str, Any]) -> int | None:
    """The value of a dimension; None where the configuration lacks a field of it."""
    factors = [int(part) if part.isdigit() else config.get(part) for part in dimension.split("*")]
    known = [factor for factor in factors if factor is not None]
    return prod(known) if len(known) == len(factors) else None


def _layer(prefix: str, width: str) -> Keys:
    """One decoder layer whose attention reads ``width``; without its norms of the input."""
    return {
        f"{prefix}self_attn.q_proj.weight": (_QUERIES, width),
        f"{prefix}self_attn.k_proj.weight": (_SHARED, width),
        f"{prefix}self_attn.v_proj.weight": (_SHARED, width),
        f"{prefix}self_attn.o_proj.weight": (_H, _QUERIES),
        f"{prefix}mlp.gate_proj.weight": (_INNER, _H),
        f"{prefix}mlp.up_proj.weight": (_INNER, _H),
        f"{prefix}mlp.down_proj.weight": (_H, _INNER),
        f"{prefix}post_attention_layernorm.weight": (_H,),
    }


def _qkv_bias(prefix: str) -> Keys:
    return {
        f"{prefix}q_proj.bias": (_QUERIES,),
        f"{prefix}k_proj.bias": (_SHARED,),
        f"{prefix}v_proj.bias": (_SHARED,),
    }


_EAGLE = Layout(
    required={"fc.weight": (_H, _PAIR), **_layer("layers.0.", _H)},
    optional={
        "bias": {"fc.bias": (_H,)},
        "qkv_bias": _qkv_bias("layers.0.self_attn."),
        "input_layernorm": {"layers.0.input_layernorm.weight": (_H,)},
        "final_norm": {"norm.weight": (_H,)},
    },
)
_VISPEC = Layout(
    required={**_EAGLE.required, "img_fc.weight": (_H, _PAIR), "img_fc.bias": (_H,)},
    optional={
        **_EAGLE.optional,
        "adaptor": {
            "imadpt.q": ("num_q", "adaptor_heads", "adaptor_head_dim"),
            "imadpt.k_proj.weight": (_ADAPTOR, _H),
            "imadpt.v_proj.weight": (_ADAPTOR, _H),
            "imadpt.o_proj.weight": (_H, _H),
        },
        "adaptor_bias": {"imadpt.k_proj.bias": (_ADAPTOR,), "imadpt.v_proj.bias": (_ADAPTOR,)},
    },
)
_FLASH = Layout(
    required={
        "fc.weight": (_H, _PAIR),
        "layers.q_proj.weight": (_QUERIES, _H),
        "layers.k_proj.weight": (_SHARED, _H),
        "layers.v_proj.weight": (_SHARED, _H),
        **_qkv_bias("layers."),
        "layers.o_proj.weight": (_H, _QUERIES),
        "layers.o_proj.bias": (_H,),
        "layers.ar_proj.0.weight": (_INNER, _H),
        "layers.ar_proj.0.bias": (_INNER,),
        "layers.ar_proj.2.weight": ("k*hidden_size", _INNER),
        "layers.ar_proj.2.bias": ("k*hidden_size",),
    },
    optional={"bias": {"fc.bias": (_H,)}},
)
_LAYOUTS = {"eagle": _EAGLE, "specvlm": _EAGLE, "vispec": _VISPEC, "flash": _FLASH}


def _eagle3(layers_read: int) -> Layout:
    features = f"{layers_read}*target_hidden_size"
    return Layout(
        required={
            "fc.weight": (_H, features),
            **_layer("midlayer.", _PAIR),
            "midlayer.input_layernorm.weight": (_H,),
            "midlayer.hidden_norm.weight": (_H,),
            "norm.weight": (_H,),
            "lm_head.weight": ("draft_vocab_size", _H),
        },
        optional={
            "mapping": {"d2t": ("draft_vocab_size",), "t2d": ("vocab_size",)},
            "qkv_bias": _qkv_bias("midlayer.self_attn."),
            "attention_bias": {"midlayer.self_attn.o_proj.bias": (_H,)},
            "norm_before_fc": {"input_norm.weight": (features,)},
            "fc_norm": {
                f"fc_norm.{index}.weight": ("target_hidden_size",) for index in range(layers_read)
            },
        },
    )
