"""The causal counterpart of MAR: one decoder in raster order, with a key/value cache.

Source: the autoregressive baseline of Li et al. 2024 (arXiv 2406.11838), table 1, whose authors
describe it as MAR's decoder at twice the depth under a causal mask. No weights of it were released;
the module names follow those of MAR.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adapters.mar.backbone import Backbone
from adapters.mar.config import CAUSAL, MARConfig
from mmspec.cache import RaggedCache


class CausalAttention(nn.Module):
    """Attention to earlier positions, with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: RaggedCache | None, layer: int
    ) -> Tensor:
        rows, count, width = x.shape
        split = self.qkv(x).view(rows, count, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            keys, values = cache.store(layer, keys, values)
        out = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None and count > 1,
        )
        return self.proj(out.transpose(1, 2).reshape(rows, count, width))


class FeedForward(nn.Module):
    """Two matrices with a GELU between them."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.fc1(x))
        if self.training:
            x = F.dropout(x, self.dropout)
        return self.fc2(x)


class CausalBlock(nn.Module):
    """Pre-norm attention and feed-forward; the names are those of MAR's blocks."""

    def __init__(self, config: MARConfig) -> None:
        super().__init__()
        width, self.dropout = config.decoder_width, config.dropout
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.attn = CausalAttention(width, config.decoder_heads, config.dropout)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = FeedForward(width, int(width * config.mlp_ratio), config.dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: RaggedCache | None, layer: int
    ) -> Tensor:
        x = x + self._dropped(self.attn(self.norm1(x), mask, cache, layer))
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training else x


class CausalMAR(Backbone):
    """A decoder over a prefix of class vectors and the tokens before.

    The hidden state of the last prefix position is for token 0, that of token ``j`` for token
    ``j + 1``.

    Args:
        config: Its sizes, of variant ``causal``.

    Raises:
        ValueError: The config is of another variant.
    """

    def __init__(self, config: MARConfig) -> None:
        if config.variant != CAUSAL:
            raise ValueError(f"CausalMAR is the causal variant, got one of {config.variant!r}")
        super().__init__(config)
        width = config.decoder_width
        self.decoder_pos_embed_learned = nn.Parameter(
            torch.zeros(1, config.buffer + config.cells, width)
        )
        self.decoder_blocks = nn.ModuleList(
            CausalBlock(config) for _ in range(config.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.reset_parameters()

    def embed_prefix(self, labels: Tensor, drop: Tensor | None = None) -> Tensor:
        """Embeddings of the prefix: copies of the class vector, told apart by position.

        Args:
            labels: ``(rows,)``.
            drop: ``(rows,)`` bool, rows that get no class.

        Returns:
            ``(rows, buffer, W)``.
        """
        positions = self.decoder_pos_embed_learned[:, : self.config.buffer]
        return self.z_proj_ln(self.class_vectors(labels, drop).unsqueeze(1) + positions)

    def embed(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Embeddings of tokens.

        Args:
            tokens: ``(rows, n, D)``.
            places: ``(rows or 1, n)`` raster indices; those outside the picture count as the
                nearest one.

        Returns:
            ``(rows, n, W)``.
        """
        positions = self.decoder_pos_embed_learned[0, self.config.buffer + self._inside(places)]
        return self.z_proj_ln(self.z_proj(tokens.to(self.dtype)) + positions)

    def forward(
        self, embeds: Tensor, mask: Tensor | None = None, cache: RaggedCache | None = None
    ) -> Tensor:
        """Hidden states after the final norm.

        Args:
            embeds: ``(rows, n, W)`` from ``embed_prefix`` and ``embed``.
            mask: Bool, ``(rows or 1, 1, n, view)``, True where attention may look. None is causal
                for several positions with nothing before them, everything in view for one.
            cache: Holds what came before, its slots chosen; written to. None keeps nothing.

        Returns:
            ``(rows, n, W)``.

        Raises:
            ValueError: Several positions follow earlier ones without a mask.
        """
        if mask is not None:
            # Attention wants a sum anyway; turning the mask into one here does it once, not once
            # a layer.
            mask = torch.zeros(mask.shape, dtype=embeds.dtype, device=mask.device).masked_fill_(
                ~mask, float("-inf")
            )
        elif cache is not None and 1 < embeds.shape[1] < cache.view:
            raise ValueError(
                f"{embeds.shape[1]} positions over a view of {cache.view} need a mask that says "
                "what each of them sees"
            )
        x = embeds
        for index, block in enumerate(self.decoder_blocks):
            x = block(x, mask, cache, index)
        return self.decoder_norm(x)

    def conditions(self, hidden: Tensor, places: Tensor) -> Tensor:
        """Condition vectors for the head.

        Args:
            hidden: ``(rows, n, W)``.
            places: ``(rows or 1, n)`` raster indices of the tokens to be drawn, each one after the
                position of its hidden state; those outside the picture count as the nearest one.

        Returns:
            ``(rows, n, W)``.
        """
        return hidden + self.diffusion_pos_embed_learned[0, self._inside(places)]

    def training_conditions(
        self, tokens: Tensor, labels: Tensor, drop: Tensor | None = None
    ) -> Tensor:
        """Condition vectors of every token of whole pictures, all earlier tokens given.

        Args:
            tokens: ``(batch, cells, D)`` in raster order.
            labels: ``(batch,)``.
            drop: ``(batch,)`` bool, rows trained without their class.

        Returns:
            ``(batch, cells, W)``; those at ``j`` are for ``tokens[:, j]``.
        """
        places = torch.arange(self.config.cells, device=tokens.device).unsqueeze(0)
        prefix = self.embed_prefix(labels, drop)
        hidden = self(torch.cat([prefix, self.embed(tokens[:, :-1], places[:, :-1])], dim=1))
        return self.conditions(hidden[:, self.config.buffer - 1 :], places)

    def _inside(self, places: Tensor) -> Tensor:
        return places.clamp(0, self.config.cells - 1)
