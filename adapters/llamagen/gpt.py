"""LlamaGen's transformer: a Llama over image codes with a 2-D rotation.

The module names are those of the released checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adapters.llamagen.conditioning import CaptionEmbedder, LabelEmbedder, causal_mask
from adapters.llamagen.config import CLASSES, IDENTITY, GPTConfig
from image_ar.discrete.rotary import rotate, rotations
from mmspec.cache import RaggedCache

INIT_STD = 0.02


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32 and scaled in the model's format."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return F.rms_norm(x.float(), self.weight.shape, eps=self.eps).to(x.dtype) * self.weight


class Attention(nn.Module):
    """Causal attention with one matrix for queries, keys and values."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.n_head, config.kv_heads
        self.head_dim = config.head_dim
        width = (config.n_head + 2 * config.kv_heads) * config.head_dim
        self.wqkv = nn.Linear(config.dim, width, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)

    def forward(
        self, x: Tensor, factors: Tensor, mask: Tensor | None, cache: RaggedCache | None, layer: int
    ) -> Tensor:
        rows, count, _ = x.shape
        turned = self.heads + self.kv_heads
        heads = self.wqkv(x).view(rows, count, turned + self.kv_heads, self.head_dim)
        # Queries and keys turn together: one product instead of two.
        rotated = rotate(heads[:, :, :turned], factors).transpose(1, 2)
        queries, keys = rotated.split((self.heads, self.kv_heads), dim=1)
        values = heads[:, :, turned:].transpose(1, 2)
        if cache is not None:
            keys, values = cache.store(layer, keys, values)
        out = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and count > 1,
            enable_gqa=self.kv_heads != self.heads,
        )
        return self.wo(out.transpose(1, 2).reshape(rows, count, -1))


class FeedForward(nn.Module):
    """``w2(silu(w1 x) * w3 x)``."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.ffn_width, bias=False)
        self.w3 = nn.Linear(config.dim, config.ffn_width, bias=False)
        self.w2 = nn.Linear(config.ffn_width, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """Pre-norm attention and feed-forward, both added to the stream."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.resid_dropout, self.ffn_dropout = config.resid_dropout, config.ffn_dropout

    def forward(
        self, x: Tensor, factors: Tensor, mask: Tensor | None, cache: RaggedCache | None, layer: int
    ) -> Tensor:
        attended = self.attention(self.attention_norm(x), factors, mask, cache, layer)
        x = x + F.dropout(attended, self.resid_dropout, self.training)
        fed = self.feed_forward(self.ffn_norm(x))
        return x + F.dropout(fed, self.ffn_dropout, self.training)


class GPT(nn.Module):
    """The transformer of one checkpoint.

    A freshly built model gives uniform logits: its output matrix is zero, as the released models
    start. ``reset_parameters(zero_output=False)`` gives a random one.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_embedding: LabelEmbedder | CaptionEmbedder
        if config.model_type == CLASSES:
            self.cls_embedding = LabelEmbedder(config.num_classes, config.dim)
        else:
            self.cls_embedding = CaptionEmbedder(
                config.caption_dim, config.dim, config.cls_token_num
            )
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        # No buffer: casting a model to bfloat16 would cast the table with it.
        self._rotations: Tensor | None = None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(
        self, generator: torch.Generator | None = None, zero_output: bool = True
    ) -> None:
        """Draw all weights anew: matrices with deviation 0.02, norms 1, the output matrix zero.

        Args:
            generator: Source of the numbers; None for torch's own.
            zero_output: False draws the output matrix like the others.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(0.0, INIT_STD, generator=generator)
            elif isinstance(module, RMSNorm):
                module.weight.fill_(1.0)
            elif isinstance(module, CaptionEmbedder):
                width = module.uncond_embedding.shape[1]
                module.uncond_embedding.normal_(0.0, width**-0.5, generator=generator)
        if zero_output:
            self.output.weight.zero_()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tok_embeddings.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.tok_embeddings.weight.dtype

    def embed_condition(self, inputs: Mapping[str, Any], drop: Tensor | None = None) -> Tensor:
        """Embeddings of the condition positions.

        Args:
            inputs: ``labels`` ``(rows,)`` for classes; ``caption`` ``(rows, T, caption_dim)``,
                left-padded, for texts. Other entries are ignored.
            drop: ``(rows,)`` bool, True for rows that get the null condition instead.

        Returns:
            ``(rows, T, dim)``.
        """
        given = "labels" if self.config.model_type == CLASSES else "caption"
        return self.cls_embedding(inputs[given], drop)

    def forward(
        self,
        embeds: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        cache: RaggedCache | None = None,
    ) -> Tensor:
        """Hidden states after the final norm.

        Args:
            embeds: ``(rows, n, dim)`` embeddings of condition positions and codes.
            positions: ``(rows or 1, n)`` rows of the rotary table, the condition's first.
            mask: Bool, ``(rows or 1, 1, n, view)``, True where attention may look. None is causal
                for several tokens with nothing before them, everything in view for one.
            cache: Holds what came before, its slots chosen; written to. None keeps nothing.

        Returns:
            ``(rows, n, dim)``.
        """
        factors = self.rotations()[positions].unsqueeze(2)
        if mask is not None:
            # Attention wants a sum anyway; turning the mask into one here does it once, not once
            # a layer.
            mask = torch.zeros(mask.shape, dtype=embeds.dtype, device=mask.device).masked_fill_(
                ~mask, float("-inf")
            )
        x = F.dropout(embeds, self.config.token_dropout, self.training)
        for index, layer in enumerate(self.layers):
            x = layer(x, factors, mask, cache, index)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """``(..., vocab)`` in float32."""
        return self.output(hidden).float()

    def loss_logits(
        self, codes: Tensor, inputs: Mapping[str, Any], drop: Tensor | None = None
    ) -> Tensor:
        """Logits of every code of whole images, all earlier codes given.

        Args:
            codes: ``(batch, cells)`` codes in raster order.
            inputs: As for ``embed_condition``; with a ``caption`` also its ``caption_mask``
                ``(batch, T)``.
            drop: ``(batch,)`` bool, rows trained without their condition (a tenth of them in the
                released models, for classifier-free guidance).

        Returns:
            ``(batch, cells, vocab)`` float32; those at ``i`` are for ``codes[:, i]``.
        """
        condition = self.embed_condition(inputs, drop)
        embeds = torch.cat([condition, self.tok_embeddings(codes[:, :-1])], dim=1)
        length = embeds.shape[1]
        mask = None
        if inputs.get("caption_mask") is not None:
            mask = causal_mask(inputs["caption_mask"], length)
        positions = torch.arange(length, device=codes.device).unsqueeze(0)
        return self.logits(self(embeds, positions, mask)[:, condition.shape[1] - 1 :])

    def rotations(self) -> Tensor:
        """The rotary table ``(T + cells, head_dim / 2)`` on the model's device."""
        if self._rotations is None or self._rotations.device != self.device:
            config = self.config
            self._rotations = rotations(
                config.grid,
                config.head_dim,
                config.cls_token_num,
                config.rope_base,
                self.device,
                lead_factor=float(config.condition_rope == IDENTITY),
            )
        return self._rotations
