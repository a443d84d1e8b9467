"""What ``config.json`` states, whoever wrote it, under one set of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

_WHOLE = (
    "hidden_size",
    "vocab_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "draft_vocab_size",
    "target_hidden_size",
    "num_q",
    "k",
)
_NUMBERS = ("rms_norm_eps", "rope_theta")
_FLAGS = ("norm_before_residual", "norm_before_fc", "fc_norm", "norm_output")
_OTHER_NAMES = {"vispec_num_query_tokens": "num_q"}
_LAYERS = "eagle_aux_hidden_state_layer_ids"
_PLAIN_ROPE = ("default", "mrope")


@dataclass(frozen=True)
class Statements:
    """A configuration as far as it concerns a drafter.

    Attributes:
        values: Canonical names; what is not stated is absent.
        problems: What it asks for and no network here has, a sentence each.
        notes: What was understood in a way worth telling.
    """

    values: dict[str, Any]
    problems: list[str]
    notes: list[str]


def understand(raw: Mapping[str, Any]) -> Statements:
    """Read a configuration, flat or nested as ``speculators`` and ModelOpt write it."""
    stated = Statements({}, [], [] if raw else ["no config.json: defaults of Llama assumed"])
    nested = _object(raw, "eagle_config")
    flat = {**_object(raw, "transformer_layer_config"), **raw, **nested}
    flat |= {name: flat[other] for other, name in _OTHER_NAMES.items() if other in flat}
    _rope(flat, stated)
    _numbers(flat, stated)
    stated.values.update({name: bool(flat[name]) for name in _FLAGS if flat.get(name) is not None})
    _layers(raw, nested, stated)
    _network(flat, stated)
    if target := _target(raw):
        stated.values["target"] = target
    if raw.get("embed_requires_grad"):
        stated.notes.append("trained with an embedding table of its own; the target's is used")
    if "speculators_model_type" in raw and "norm_before_residual" not in raw:
        stated.notes.append("norm_before_residual is not stated: false")
    return stated


def _object(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A nested object; empty where there is none."""
    found = raw.get(name)
    return dict(found) if isinstance(found, Mapping) else {}


def _rope(flat: dict[str, Any], stated: Statements) -> None:
    """Rotary base and type; transformers 5 keeps both in ``rope_parameters``, which then counts."""
    rope = _object(flat, "rope_parameters") or _object(flat, "rope_scaling")
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if any(isinstance(part, Mapping) for part in rope.values()):
        kind = "one per layer"
    if kind not in _PLAIN_ROPE:
        stated.problems.append(f"rope type '{kind}' is not supported; plain and mrope are")
    share = rope.get("partial_rotary_factor", flat.get("partial_rotary_factor"))
    if share not in (None, 1):
        stated.problems.append(f"rope on {share} of a head is not supported")
    flat["rope_theta"] = rope.get("rope_theta", flat.get("rope_theta"))
    # Text positions are one axis, so M-RoPE is plain here; a network with three can still tell.
    axes = kind == "mrope" or "mrope_section" in rope
    stated.values["rope_scaling"] = rope if axes else None


def _numbers(flat: Mapping[str, Any], stated: Statements) -> None:
    for name in (*_WHOLE, *_NUMBERS):
        value = flat.get(name)
        if value is None:
            continue
        allowed = int if name in _WHOLE else Real
        if isinstance(value, bool) or not isinstance(value, allowed) or value <= 0:
            stated.problems.append(f"{name} is {value!r}, which is no positive number")
        else:
            stated.values[name] = value


def _layers(raw: Mapping[str, Any], nested: Mapping[str, Any], stated: Statements) -> None:
    """Which layers of the target are read, as indices of hidden states, the embeddings' being 0.

    At the top level the numbers mean inputs of layers, as vLLM reads them; within ``eagle_config``
    they mean outputs, as SpecForge and ModelOpt train with them: one less for the same state. The
    states are joined in the target's order, whatever the order of the list.
    """
    layers = raw.get("target_layers") or raw.get(_LAYERS)
    offset = 0
    if not layers:
        layers, offset = nested.get(_LAYERS), 1
    if not layers:
        return
    if not isinstance(layers, Sequence) or not all(type(layer) is int for layer in layers):
        stated.problems.append(f"target layers {layers!r} are no list of whole numbers")
        return
    stated.values["target_layers"] = tuple(sorted(layer + offset for layer in layers))
    if offset:
        stated.notes.append(f"eagle_config names outputs of layers {list(layers)}: the next inputs")


def _network(flat: Mapping[str, Any], stated: Statements) -> None:
    """Features of a layer that none of the networks has."""
    depth = flat.get("draft_num_hidden_layers", flat.get("num_hidden_layers"))
    if depth not in (None, 1):
        stated.problems.append(f"num_hidden_layers {depth} is not supported; 1 is")
    if (act := flat.get("hidden_act")) not in (None, "silu"):
        stated.problems.append(f"hidden_act '{act}' is not supported; silu is")
    if flat.get("use_sliding_window") or set(flat.get("layer_types") or ()) - {"full_attention"}:
        stated.problems.append("sliding windows are not supported; full attention is")


def _target(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of the model that the drafter was trained for."""
    if own := _object(raw, "target"):
        return own
    verifier = _object(_object(raw, "speculators_config"), "verifier")
    said = {"name": verifier.get("name_or_path"), "model_type": raw.get("target_model_type")}
    return {name: value for name, value in said.items() if value}
