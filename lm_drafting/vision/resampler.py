"""A fixed number of learned views of a picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lm_drafting.vision.compressor import Compressed, Grid, SizedCompressor, VisualInput
from lm_drafting.vision.cross_attention import cross_attend, new_queries
from lm_drafting.vision.positions import require_room, tail


class Resampler(SizedCompressor):
    """One multi-head cross-attention of learned queries, a norm, and an output projection.

    The resampler branch of SpecVLM (arXiv 2509.11815). Its rows stand at the end of the run.

    Args:
        hidden: Width of embeddings.
        tokens: Queries, each of which becomes a row.
        heads: Attention heads.
    """

    kind = "resample"
    reads = "embeds"

    def __init__(self, hidden: int, tokens: int = 8, heads: int = 8) -> None:
        super().__init__()
        self.q = new_queries(tokens, hidden, heads)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, hidden, bias=False)
        self.norm = nn.LayerNorm(hidden)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)
        self.reset_parameters()

    def forward(self, visual: VisualInput) -> Compressed:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        offsets = tail(visual.tokens, len(self.q), visual.embeds.device)
        keys, values = self.k_proj(visual.embeds), self.v_proj(visual.embeds)
        rows = self.o_proj(self.norm(cross_attend(self.q, keys, values)))
        return Compressed.even(rows, offsets)

    def kept(self, tokens: int, grid: Grid | None) -> int:
        """See :class:`~lm_drafting.vision.compressor.SizedCompressor`."""
        require_room(tokens, len(self.q))
        return len(self.q)

    def spec(self) -> dict[str, Any]:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        tokens, heads, _ = self.q.shape
        return super().spec() | {"tokens": tokens, "heads": heads}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Start values under which the queries see different things.

        Small queries would all see the mean, and the norm behind them would hide what is left of
        their differences.
        """
        super().reset_parameters(generator)
        self.q.normal_(generator=generator)
