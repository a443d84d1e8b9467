"""FLASH's compression: learned queries on the target's own hidden states of a picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lm_drafting.vision.compressor import Compressed, Grid, SizedCompressor, VisualInput
from lm_drafting.vision.positions import require_room, tail


class LatentQueries(SizedCompressor):
    """``softmax(A F^T) F`` of learned queries ``A`` and hidden states ``F`` of a run.

    FLASH (arXiv 2505.12728): a single head, no scale and no projections, so every row is a mean of
    the target's hidden states. The rows stand at the end of the run.

    Args:
        hidden: Width of hidden states.
        tokens: Queries, each of which becomes a row.

    Raises:
        ValueError: There are no queries.
    """

    kind = "latent"
    reads = "hidden"

    def __init__(self, hidden: int, tokens: int = 64) -> None:
        super().__init__()
        if tokens < 1:
            raise ValueError(f"tokens={tokens}: at least one query is needed")
        self.queries = nn.Parameter(torch.empty(tokens, hidden))
        self.reset_parameters()

    def forward(self, visual: VisualInput) -> Compressed:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        latents = visual.hidden
        offsets = tail(visual.tokens, len(self.queries), latents.device)
        weights = (self.queries @ latents.mT).softmax(-1)  # (runs, kept, tokens)
        return Compressed.even(weights @ latents, offsets)

    def kept(self, tokens: int, grid: Grid | None) -> int:
        """See :class:`~lm_drafting.vision.compressor.SizedCompressor`."""
        require_room(tokens, len(self.queries))
        return len(self.queries)

    def spec(self) -> dict[str, Any]:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        return super().spec() | {"tokens": len(self.queries)}
