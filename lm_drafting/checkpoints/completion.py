"""What a drafter's weights say of its shape where its configuration is silent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor


class _Source(NamedTuple):
    """A field is the size of a weight along an axis, divided by another field if one is named."""

    field: str
    key: str
    axis: int
    per: str = ""


def _layer(prefix: str) -> tuple[_Source, ...]:
    """Sources in a decoder layer; heads and their width each follow from the other."""
    attention = f"{prefix}self_attn."
    return (
        _Source("intermediate_size", f"{prefix}mlp.gate_proj.weight", 0),
        _Source("num_attention_heads", f"{attention}q_proj.weight", 0, "head_dim"),
        _Source("head_dim", f"{attention}q_proj.weight", 0, "num_attention_heads"),
        _Source("num_key_value_heads", f"{attention}k_proj.weight", 0, "head_dim"),
    )


_HIDDEN = _Source("hidden_size", "fc.weight", 0)
_VOCABULARY = _Source("vocab_size", "embed_tokens.weight", 0)
_EAGLE = (_HIDDEN, _VOCABULARY, *_layer("layers.0."))
_SOURCES = {
    "eagle": _EAGLE,
    "specvlm": _EAGLE,
    "vispec": (
        _Source("num_q", "imadpt.q", 0),
        _Source("adaptor_heads", "imadpt.q", 1),
        _Source("adaptor_head_dim", "imadpt.q", 2),
        # The official adaptor has as many heads as the layer.
        _Source("num_attention_heads", "imadpt.q", 1),
        *_EAGLE,
    ),
    "eagle3": (
        _HIDDEN,
        _VOCABULARY,
        _Source("vocab_size", "t2d", 0),
        _Source("draft_vocab_size", "lm_head.weight", 0),
        *_layer("midlayer."),
    ),
    "flash": (
        _HIDDEN,
        _VOCABULARY,
        _Source("intermediate_size", "layers.ar_proj.0.weight", 0),
        _Source("k", "layers.ar_proj.2.weight", 0, "hidden_size"),
        _Source("num_attention_heads", "layers.q_proj.weight", 0, "head_dim"),
        _Source("head_dim", "layers.q_proj.weight", 0, "num_attention_heads"),
        _Source("num_key_value_heads", "layers.k_proj.weight", 0, "head_dim"),
    ),
}
# What the official code takes where its configuration is silent.
_DEFAULTS: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "max_position_embeddings": 2048,
}
_EAGLE3_DEFAULTS: dict[str, Any] = {
    **_DEFAULTS,
    "target_hidden_size": None,  # the drafter's own
    "target_layers": None,  # the inputs of layers 2, N // 2 and N - 3
    "norm_before_residual": False,
    "norm_output": False,
}
# FLASH's configurations carry the target's numbers here, which its layer does not follow.
_UNTRUSTED = {"flash": ("intermediate_size", "num_key_value_heads")}
_PARTS = ("num_q", "adaptor_heads", "adaptor_head_dim")  # of an adaptor that may be absent


def required_fields(kind: str) -> tuple[str, ...]:
    """Fields that a checkpoint's configuration or its weights must decide."""
    fields = dict.fromkeys(source.field for source in _SOURCES[kind])
    return tuple(field for field in fields if field not in _PARTS)


def complete(kind: str, stated: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration as stated, filled up from the weights and then from defaults.

    Args:
        kind: Of the drafter.
        stated: Canonical names; those of other kinds are left out.
        weights: Canonical names, with the embedding table if it was stored.

    Returns:
        Canonical names; fields that nothing decides are absent.
    """
    defaults = _EAGLE3_DEFAULTS if kind == "eagle3" else _DEFAULTS
    fields = {source.field for source in _SOURCES[kind]}
    known = (fields | defaults.keys() | {"target"}) - set(_UNTRUSTED.get(kind, ()))
    config = {**defaults, **{name: value for name, value in stated.items() if name in known}}
    for source in _SOURCES[kind]:
        if source.field not in config and (value := _look_up(source, config, weights)):
            config[source.field] = value
    if kind == "eagle3":
        config["target_hidden_size"] = config["target_hidden_size"] or config.get("hidden_size")
    return config


def _look_up(
    source: _Source, config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> int | None:
    """A field's value by the weights; None where they do not decide it."""
    weight = weights.get(source.key)
    if weight is None or weight.dim() <= source.axis:
        return None
    found = weight.shape[source.axis]
    if not source.per:
        return found
    per = config.get(source.per)
    return found // per if per and found % per == 0 else None
