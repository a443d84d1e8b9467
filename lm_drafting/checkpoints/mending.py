"""What some projects leave out of their files, where it can mean one thing only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lm_drafting.checkpoints.vocabulary import target_ids, token_mask, within


def mend(kind: str, config: Mapping[str, Any], weights: dict[str, Tensor]) -> list[str]:
    """Complete and convert weights, in place.

    Args:
        kind: Of the drafter.
        config: Its completed configuration.
        weights: Canonical names; changed.

    Returns:
        A note for everything that was made up.
    """
    return _MENDERS[kind](config, weights) if kind in _MENDERS else []


def _mend_vispec(config: Mapping[str, Any], weights: dict[str, Tensor]) -> list[str]:
    """NeMo AutoModel mixes the picture in without a bias."""
    mix = weights.get("img_fc.weight")
    if mix is None or "img_fc.bias" in weights:
        return []
    weights["img_fc.bias"] = mix.new_zeros(len(mix))
    return ["img_fc.bias is not stored: zeros made"]


def _mend_eagle3(config: Mapping[str, Any], weights: dict[str, Tensor]) -> list[str]:
    """Vocabulary maps get their types, and the mask is made where it is absent or has no meaning.

    ModelOpt stores no mask. The official module keeps both maps where the vocabularies are equal,
    without ever filling the mask.
    """
    if "t2d" in weights:
        weights["t2d"] = weights["t2d"].to(torch.bool)
    if "d2t" not in weights or weights["d2t"].dim() != 1:
        return []
    weights["d2t"] = weights["d2t"].to(torch.int64)
    vocabulary = config.get("vocab_size")
    whole = config.get("draft_vocab_size") == vocabulary
    ids = target_ids(weights["d2t"])
    if vocabulary is None or not within(ids, vocabulary) or ("t2d" in weights and not whole):
        return []
    stored = weights.get("t2d")
    weights["t2d"] = token_mask(ids, vocabulary)
    if stored is not None and torch.equal(stored, weights["t2d"]):
        return []
    return ["t2d is not stored, or not filled: made from d2t"]


_MENDERS: dict[str, Callable[[Mapping[str, Any], dict[str, Tensor]], list[str]]] = {
    "vispec": _mend_vispec,
    "eagle3": _mend_eagle3,
}
