"""The package's own drafters on any target, untrained: the output must equal all the same."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adapters.hf_vlm import HFTarget
from lm_drafting.draft_model import DraftModel
from lm_drafting.eagle import EagleConfig, EagleDrafter, EagleHead
from lm_drafting.prompt_lookup import PromptLookup
from mmspec.messages import Plan
from mmspec.token_target import TokenTarget
from tests.drafters import Recipe


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
def random_head(hidden: int, vocab: int) -> EagleHead:
    """An EAGLE head that has learnt nothing."""
    head = EagleHead(EagleConfig(hidden, vocab, 2 * hidden, 2, 1, head_dim=8))
    head.reset_parameters(torch.Generator().manual_seed(0))
    return head.requires_grad_(False)


def _lookup(target: Any, reference: Any) -> PromptLookup:
    return PromptLookup(never=target.image_token_ids)


def _itself(target: Any, reference: Any) -> DraftModel:
    return DraftModel(TokenTarget(target.decoder), target, omit=())


def _blind(target: Any, reference: Any) -> DraftModel:
    return DraftModel(small_text_model(target.decoder.vocab_size), target)


def _eagle(target: Any, reference: Any) -> EagleDrafter:
    return EagleDrafter(random_head(target.decoder.hidden_size, target.decoder.vocab_size), target)


REAL: dict[str, Recipe] = {
    "prompt-lookup": Recipe(_lookup),
    "draft-model-itself": Recipe(_itself),
    "draft-model-tree-itself": Recipe(_itself, Plan(length=3, width=2, budget=8)),
    "draft-model-text-only": Recipe(_blind),
    "eagle-chain": Recipe(_eagle),
    "eagle-tree": Recipe(_eagle, Plan(length=4, width=3, budget=9)),
}
