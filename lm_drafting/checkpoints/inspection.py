"""Every way in which a drafter's weights and its configuration contradict each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lm_drafting.checkpoints.completion import required_fields
from lm_drafting.checkpoints.layouts import Shape, layout_of, size
from lm_drafting.checkpoints.vocabulary import target_ids, token_mask, within

COMPRESSOR = "compressor."  # of networks of this project, which check it themselves
_LISTED = 8


def inspect(
    kind: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    stated: Mapping[str, Any],
    ours: bool = False,
) -> list[str]:
    """Compare the parts of a drafter before any network is built from them.

    Args:
        kind: Of the drafter.
        config: Completed configuration.
        weights: Canonical names, mended.
        stated: What the configuration's author wrote.
        ours: Whether a compressor may be there.

    Returns:
        A sentence for each contradiction; empty where there is none.
    """
    layout = layout_of(kind, config)
    stored = layout.stored(weights)
    wanted = dict(layout.required)
    for name, group in layout.optional.items():
        if stored[name] or stated.get(name):
            wanted |= group
    own = {key for key in weights if ours and key.startswith(COMPRESSOR)}
    denied = [name for name, there in stored.items() if there and stated.get(name) is False]
    return [
        *(f"{name} is undecided" for name in required_fields(kind) if name not in config),
        *_names("missing", wanted.keys() - weights.keys()),
        *_names("unknown", weights.keys() - wanted.keys() - own),
        *(f"{name} is false, but {', '.join(layout.optional[name])} is there" for name in denied),
        *_shapes(wanted, config, weights),
        *_heads(config),
        *(_vocabulary(config, weights) if kind == "eagle3" else ()),
    ]


def _names(what: str, keys: Collection[str]) -> Iterator[str]:
    if keys:
        more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
        yield f"{what} weights {', '.join(sorted(keys)[:_LISTED])}{more}"


def _shapes(
    wanted: Mapping[str, Shape], config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Iterator[str]:
    for key, shape in wanted.items():
        sizes = [size(dimension, config) for dimension in shape]
        if key in weights and None not in sizes and list(weights[key].shape) != sizes:
            yield (
                f"{key} is {' x '.join(map(str, weights[key].shape))}, but {' x '.join(shape)} is "
                f"{' x '.join(map(str, sizes))}"
            )


def _heads(config: Mapping[str, Any]) -> Iterator[str]:
    heads, shared = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if heads and shared and heads % shared:
        yield f"num_attention_heads {heads} is no multiple of num_key_value_heads {shared}"
    if config.get("head_dim", 0) % 2:
        yield f"head_dim {config['head_dim']} is odd, which rotary positions rule out"


def _vocabulary(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Iterator[str]:
    """Draft tokens are tokens of the target, each one once, and the target's table embeds them."""
    hidden, target = config.get("hidden_size"), config.get("target_hidden_size")
    if hidden != target:
        yield (
            f"hidden_size {hidden} is not target_hidden_size {target}, so the target's embeddings "
            "do not fit"
        )
    drafted, vocabulary = config.get("draft_vocab_size"), config.get("vocab_size")
    if drafted is None or vocabulary is None:
        return
    if "d2t" not in weights:
        if drafted != vocabulary:
            yield f"d2t is missing, and draft_vocab_size {drafted} is not vocab_size {vocabulary}"
        return
    ids = target_ids(weights["d2t"].flatten())
    if not within(ids, vocabulary) or len(ids.unique()) != len(ids):
        yield f"d2t does not lead to distinct tokens below {vocabulary}; it must hold offsets"
    elif "t2d" in weights and not torch.equal(weights["t2d"], token_mask(ids, vocabulary)):
        yield "t2d does not mark the tokens that d2t leads to"
