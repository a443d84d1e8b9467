"""Every architecture of a drafter's network, by the name its configuration carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any

from lm_drafting.features.network import DraftNetwork

_PLACES = {
    "eagle": ("lm_drafting.eagle.head", "EagleConfig", "EagleHead"),
    "eagle3": ("lm_drafting.eagle3.network", "Eagle3Config", "Eagle3Network"),
    "vispec": ("lm_drafting.vispec.network", "ViSpecConfig", "ViSpecNetwork"),
    "specvlm": ("lm_drafting.specvlm.network", "SpecVLMConfig", "SpecVLMNetwork"),
    "flash": ("lm_drafting.flash.network", "FlashConfig", "FlashNetwork"),
}
KINDS = tuple(_PLACES)


def build_network(kind: str, values: Mapping[str, Any]) -> DraftNetwork:
    """An untrained network.

    Args:
        kind: One of :data:`KINDS`.
        values: Its configuration; entries it does not know are left out.

    Raises:
        ValueError: No such kind, or a value that is missing or does not fit.
    """
    if kind not in _PLACES:
        raise ValueError(f"unknown drafter architecture '{kind}'; known: {', '.join(KINDS)}")
    place, config_name, network_name = _PLACES[kind]
    module = import_module(place)
    config_class = getattr(module, config_name)
    known = {field.name for field in fields(config_class)}
    try:
        config = config_class(**{key: value for key, value in values.items() if key in known})
    except TypeError as error:
        raise ValueError(f"the configuration of a {kind} drafter is incomplete: {error}") from error
    network = getattr(module, network_name)(config)
    assert isinstance(network, DraftNetwork)
    return network


def complete_config(kind: str, values: Mapping[str, Any], target: Any) -> dict[str, Any]:
    """Values of a configuration with what only the target can say."""
    if kind != "eagle3" or values.get("target_layers"):
        return dict(values)
    from lm_drafting.eagle3.config import default_layers

    return {**values, "target_layers": default_layers(target.decoder.num_layers)}


def shape_for(target: Any) -> dict[str, Any]:
    """Values for :func:`build_network`: a drafter shaped like one layer of the target's decoder."""
    text = target.model.config.get_text_config()
    heads = text.num_attention_heads
    return {
        "hidden_size": text.hidden_size,
        "vocab_size": target.decoder.vocab_size,
        "intermediate_size": text.intermediate_size,
        "num_attention_heads": heads,
        "num_key_value_heads": getattr(text, "num_key_value_heads", None) or heads,
        "head_dim": getattr(text, "head_dim", None) or 0,
    }
