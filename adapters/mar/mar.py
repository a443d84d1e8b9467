"""MAR's masked network: known tokens in, a condition vector for every position out.

Source: Li et al. 2024, "Autoregressive Image Generation without Vector Quantization"
(arXiv 2406.11838), section 4. The module names are those of the released checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adapters.mar.backbone import Backbone, transformer_block
from adapters.mar.config import MASKED, MARConfig


class MAR(Backbone):
    """An encoder that sees known tokens only, and a decoder that sees all positions.

    Args:
        config: Its sizes, of variant ``masked``.

    Raises:
        ValueError: The config is of another variant.
    """

    def __init__(self, config: MARConfig) -> None:
        if config.variant != MASKED:
            raise ValueError(f"MAR is the masked variant, got a config of {config.variant!r}")
        super().__init__(config)
        width, outer = config.encoder_width, config.decoder_width
        positions = config.buffer + config.cells
        self.encoder_pos_embed_learned = nn.Parameter(torch.zeros(1, positions, width))
        self.encoder_blocks = nn.ModuleList(
            transformer_block(config, width, config.encoder_heads)
            for _ in range(config.encoder_depth)
        )
        self.encoder_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.decoder_embed = nn.Linear(width, outer)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, outer))
        self.decoder_pos_embed_learned = nn.Parameter(torch.zeros(1, positions, outer))
        self.decoder_blocks = nn.ModuleList(
            transformer_block(config, outer, config.decoder_heads)
            for _ in range(config.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(outer, eps=config.norm_eps)
        self.reset_parameters()

    def forward(
        self, tokens: Tensor, unknown: Tensor, labels: Tensor, drop: Tensor | None = None
    ) -> Tensor:
        """Condition vectors of all positions, from classes.

        Args:
            tokens: ``(batch, cells, D)``; values of unknown ones are not read.
            unknown: ``(batch, cells)`` bool, True where the token is not known.
            labels: ``(batch,)``.
            drop: ``(batch,)`` bool, rows that get no class.

        Returns:
            ``(batch, cells, W')``.
        """
        return self.conditions(tokens, unknown, self.class_vectors(labels, drop))

    def conditions(self, tokens: Tensor, unknown: Tensor, class_vectors: Tensor) -> Tensor:
        """Condition vectors of all positions.

        Rows may know different numbers of tokens: shorter ones are padded and the padding is
        masked, which changes nothing but rounding.

        Args:
            tokens: ``(batch, cells, D)``; values of unknown ones are not read.
            unknown: ``(batch, cells)`` bool, True where the token is not known.
            class_vectors: ``(batch, W)`` from ``class_vectors``.

        Returns:
            ``(batch, cells, W')``, of which those at unknown positions go to the head.
        """
        known = ~unknown
        encoded = self._encode(tokens, known, class_vectors)
        return self._decode(encoded, known)

    def _encode(self, tokens: Tensor, known: Tensor, class_vectors: Tensor) -> Tensor:
        """``(batch, buffer + longest, W)``: the buffer, then the known tokens in raster order."""
        buffer = self.config.buffer
        # A padded position holds an unknown token, and 0 * NaN would spread through attention.
        tokens = tokens.to(self.dtype).masked_fill(~known.unsqueeze(-1), 0.0)
        prefix = class_vectors.unsqueeze(1).expand(-1, buffer, -1)
        x = torch.cat([prefix, self.z_proj(tokens)], dim=1) + self.encoder_pos_embed_learned
        x = self.z_proj_ln(x)
        counts = known.sum(1)
        shortest, longest = (int(bound) for bound in torch.stack(counts.aminmax()).tolist())
        first = known.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
        kept = x[:, buffer:].gather(1, first.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        x = torch.cat([x[:, :buffer], kept], dim=1)
        mask = None
        if shortest < longest:
            columns = torch.arange(x.shape[1], device=x.device)
            padded = columns >= buffer + counts.unsqueeze(1)
            mask = torch.zeros(padded.shape, dtype=x.dtype, device=x.device)
            mask = mask.masked_fill_(padded, float("-inf"))[:, None, None]
        for block in self.encoder_blocks:
            x = block(x, attn_mask=mask)
        return self.encoder_norm(x)

    def _decode(self, encoded: Tensor, known: Tensor) -> Tensor:
        """``(batch, cells, W')``: encoded tokens back at their places, the rest predicted."""
        buffer = self.config.buffer
        x = self.decoder_embed(encoded)
        every = self.mask_token.to(x.dtype).expand(*known.shape, -1)
        if x.shape[1] > buffer:
            rank = (known.long().cumsum(1) - 1).clamp(min=0)
            back = x[:, buffer:].gather(1, rank.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
            every = torch.where(known.unsqueeze(-1), back, every)
        x = torch.cat([x[:, :buffer], every], dim=1) + self.decoder_pos_embed_learned
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_norm(x)[:, buffer:] + self.diffusion_pos_embed_learned
