"""The package's own drafters on any target, untrained: the output must equal all the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adapters.hf_vlm import HFTarget
from lm_drafting.draft_model import DraftModel
from lm_drafting.features.drafter import FeatureDrafter
from lm_drafting.features.network import DraftNetwork
from lm_drafting.flash import ParallelDrafter
from lm_drafting.networks import build_network
from lm_drafting.prompt_lookup import PromptLookup
from mmspec.messages import Plan
from mmspec.token_target import TokenTarget
from tests.drafters import Recipe

# Compressors that fit the small pictures of the tests.
SMALL: dict[str, dict[str, Any]] = {
    "eagle": {},
    "vispec": {"compressor": {"kind": "queries", "num_q": 2}},
    "specvlm": {
        "compressor": {
            "kind": "elastic",
            "branches": [{"kind": "prune"}, {"kind": "pool"}, {"kind": "text-only"}],
        }
    },
    "flash": {"compressor": {"kind": "latent", "tokens": 1}},
    "eagle3": {"target_layers": (0, 1, 2), "draft_vocab_size": 20},
}


@lru_cache(maxsize=64)
def small_text_model(vocab: int) -> HFTarget:
    """A text-only model with random weights over a target's vocabulary."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return HFTarget(LlamaForCausalLM(config))


@lru_cache(maxsize=64)
def random_network(kind: str, hidden: int, vocab: int) -> DraftNetwork:
    """A network that has learnt nothing."""
    shape = {"hidden_size": hidden, "vocab_size": vocab, "intermediate_size": 2 * hidden}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    network = build_network(kind, {**shape, **heads, **SMALL[kind]})
    network.reset_parameters(torch.Generator().manual_seed(0))
    return network.requires_grad_(False)


def _lookup(target: Any, reference: Any) -> PromptLookup:
    return PromptLookup(never=target.image_token_ids)


def _itself(target: Any, reference: Any) -> DraftModel:
    return DraftModel(TokenTarget(target.decoder), target, omit=())


def _blind(target: Any, reference: Any) -> DraftModel:
    return DraftModel(small_text_model(target.decoder.vocab_size), target)


def _network(kind: str) -> Callable[[Any, Any], FeatureDrafter | ParallelDrafter]:
    def make(target: Any, reference: Any) -> FeatureDrafter | ParallelDrafter:
        decoder = target.decoder
        network = random_network(kind, decoder.hidden_size, decoder.vocab_size)
        return (
            ParallelDrafter(network, target) if kind == "flash" else FeatureDrafter(network, target)
        )

    return make


REAL: dict[str, Recipe] = {
    "prompt-lookup": Recipe(_lookup),
    "draft-model-itself": Recipe(_itself),
    "draft-model-tree-itself": Recipe(_itself, Plan(length=3, width=2, budget=8)),
    "draft-model-text-only": Recipe(_blind),
    "eagle-chain": Recipe(_network("eagle")),
    "eagle-tree": Recipe(_network("eagle"), Plan(length=4, width=3, budget=9)),
    "vispec-chain": Recipe(_network("vispec")),
    "specvlm-tree": Recipe(_network("specvlm"), Plan(length=4, width=3, budget=9)),
    "eagle3-tree": Recipe(_network("eagle3"), Plan(length=4, width=3, budget=9)),
    "flash-chain": Recipe(_network("flash"), Plan(length=5)),
    "flash-tree": Recipe(_network("flash"), Plan(length=5, width=3, budget=9)),
}
