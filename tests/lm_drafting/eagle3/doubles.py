"""A toy target with several depths, EAGLE-3 networks for it, and the drafter by its formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaMLP,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)

from lm_drafting.eagle3 import Eagle3Config, Eagle3Network
from mmspec.messages import Features
from mmspec.token_target import Prefilled
from tests.lm_drafting.toy import HIDDEN, VOCAB, LlamaDecoder, ToyTarget

LAYERS = (1, 2, 4)
KNOWN = 30  # size of a draft vocabulary smaller than the toy's


class DeepDecoder(LlamaDecoder):
    """Its "layers" are the last hidden state and fixed random projections of it."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.num_layers = 6
        generator = torch.Generator().manual_seed(8)
        self.mixes = torch.randn(self.num_layers, HIDDEN, HIDDEN, generator=generator) / HIDDEN**0.5
        self.mixes[LAYERS[0]] = torch.eye(HIDDEN)

    def deep(self, hidden: Tensor, features: Features) -> Tensor:
        assert features.layers is not None
        return torch.cat([hidden @ self.mixes[layer] for layer in features.layers], -1)

    def prefill(self, inputs: dict[str, Any], reserve: int, features: Any) -> Prefilled:
        if not features:
            return super().prefill(inputs, reserve, features)
        filled = super().prefill(inputs, reserve, Features())
        assert filled.hidden is not None
        return replace(filled, hidden=self.deep(filled.hidden, features))

    def step(self, tokens: Tensor, positions: Tensor, mask: Any, state: Any) -> Any:
        if state.features is None:
            return super().step(tokens, positions, mask, state)
        last = replace(state, features=Features())
        logits, hidden = super().step(tokens, positions, mask, last)
        return logits, self.deep(hidden, state.features)


class DeepTarget(ToyTarget):
    """The toy target, lending hidden states of any of its six "layers"."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = DeepDecoder(self.model)

    def read(self, tokens: Sequence[int], layers: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Embeddings and features of the pairs of one text, ``(1, length - 1, ...)`` each."""
        ids = torch.tensor([list(tokens)])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        filled = self.decoder.prefill(inputs, 1, Features(layers))
        assert filled.embeds is not None
        assert filled.hidden is not None
        return filled.embeds[:, 1:], filled.hidden[:, :-1]


def shape(**options: Any) -> Eagle3Config:
    values: dict[str, Any] = {
        "hidden_size": HIDDEN,
        "vocab_size": VOCAB,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "target_layers": LAYERS,
        "draft_vocab_size": KNOWN,
    }
    return Eagle3Config(**{**values, **options})


def make_network(noise: float = 0.3, **options: Any) -> Eagle3Network:
    """A network that passes the first layer on, plus noise, so that every weight matters.

    The toy target repeats itself, so drafts of such a network are sometimes right.
    """
    network = Eagle3Network(shape(**options)).requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    network.reset_parameters(generator)
    network.choose_vocabulary(torch.randint(0, 9, (VOCAB,), generator=generator))
    network.start_from(ToyTarget().model.lm_head.weight)
    network.fc.weight.zero_()
    network.fc.weight[:, :HIDDEN].fill_diagonal_(1.0)
    network.o_proj.weight.zero_()
    network.down_proj.weight.zero_()
    for weight in network.parameters():
        weight.add_(noise * torch.randn(weight.shape, generator=generator) / HIDDEN**0.5)
    return network.eval()


class Reference(nn.Module):
    """EAGLE-3 by the formulas, of transformers' parts under the official names."""

    def __init__(self, network: Eagle3Network) -> None:
        super().__init__()
        config = self.config = network.config
        hidden = config.hidden_size
        llama = LlamaConfig(
            hidden_size=hidden,
            intermediate_size=config.intermediate_size,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            rms_norm_eps=config.rms_norm_eps,
            attention_bias=config.attention_bias,
            attn_implementation="eager",
        )
        attention: Any = LlamaAttention(llama, 0)
        for name in ("q_proj", "k_proj", "v_proj"):
            width = getattr(attention, name).out_features
            biased = config.qkv_bias or config.attention_bias
            setattr(attention, name, nn.Linear(2 * hidden, width, bias=biased))
        norms = ("hidden_norm", "input_layernorm", "post_attention_layernorm")
        parts = {"self_attn": attention, "mlp": LlamaMLP(llama)}
        parts |= {name: self._norm(hidden) for name in norms}
        self.midlayer = nn.ModuleDict(parts)
        self.rope = LlamaRotaryEmbedding(llama)
        self.norm = self._norm(hidden)
        self.fc = nn.Linear(config.features_size, hidden, bias=False)
        self.lm_head = nn.Linear(hidden, config.draft_vocab_size, bias=False)
        self.register_buffer("d2t", torch.zeros(config.draft_vocab_size, dtype=torch.long))
        self.register_buffer("t2d", torch.zeros(config.vocab_size, dtype=torch.bool))
        if config.norm_before_fc:
            self.input_norm = self._norm(config.features_size)
        if config.fc_norm:
            width = config.target_hidden_size
            self.fc_norm = nn.ModuleList(self._norm(width) for _ in config.target_layers)
        self.load_state_dict(network.state_dict())

    def _norm(self, width: int) -> Any:
        return LlamaRMSNorm(width, self.config.rms_norm_eps)

    def condense(self, features: Tensor) -> Tensor:
        if self.config.norm_before_fc:
            features = self.input_norm(features)
        if self.config.fc_norm:
            layers = features.split(self.config.target_hidden_size, -1)
            features = torch.cat([self.fc_norm[i](layer) for i, layer in enumerate(layers)], -1)
        return self.fc(features)

    def forward(self, embeds: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What is fed back, and logits, of a full causal pass over pairs."""
        layer: Any = self.midlayer
        normed, count = layer.hidden_norm(hidden), hidden.shape[1]
        x = torch.cat([layer.input_layernorm(embeds), normed], -1)
        mask = torch.full((1, 1, count, count), float("-inf")).triu(1)
        rope = self.rope(x, torch.arange(count).unsqueeze(0))
        attended, _ = layer.self_attn(x, position_embeddings=rope, attention_mask=mask)
        x = (normed if self.config.norm_before_residual else hidden) + attended
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        normed = self.norm(x)
        return (normed if self.config.norm_output else x), self.lm_head(normed)

    def along(
        self, target: ToyTarget, embeds: Tensor, features: Tensor, path: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Output ``(hidden,)`` and law ``(draft vocabulary,)`` behind pairs and drafted tokens."""
        hidden = self.condense(features)
        out, logits = self(embeds, hidden)
        for token in path:
            embeds = torch.cat([embeds, target.embed(torch.tensor([[token]]))], 1)
            hidden = torch.cat([hidden, out[:, -1:]], 1)
            out, logits = self(embeds, hidden)
        return out[0, -1], logits[0, -1].softmax(-1)
