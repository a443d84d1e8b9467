"""Keep the visual tokens that the question asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lm_drafting.vision.compressor import Compressed, Grid, SizedCompressor, VisualInput
from lm_drafting.vision.straight_through import straight_through


class Pruning(SizedCompressor):
    """The best ``ceil(tokens / ratio ** 2)`` rows, unchanged and at their own places.

    Token ``i`` scores ``<W_q q, W_k e_i> / sqrt(hidden)`` for the question ``q`` and its embedding
    ``e_i`` (the pruning branch of SpecVLM, arXiv 2509.11815). Choosing has no gradient, so each
    kept row passes one straight through to the sigmoid of its score.

    Args:
        hidden: Width of embeddings.
        ratio: Tokens kept are one in ``ratio ** 2``, as for a compressor of square cells.

    Raises:
        ValueError: A ratio below 1.
    """

    kind = "prune"
    reads = "fused"

    def __init__(self, hidden: int, ratio: int = 2) -> None:
        super().__init__()
        if ratio < 1:
            raise ValueError(f"ratio={ratio}: at most all tokens are kept, with a ratio of 1")
        self.ratio = ratio
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.reset_parameters()

    def forward(self, visual: VisualInput) -> Compressed:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        scores = self.scores(visual.question, visual.embeds)
        best = scores.topk(self.kept(visual.tokens, visual.grid)).indices
        offsets = best.sort().values  # (runs, kept)
        rows = visual.fused.take_along_dim(offsets.unsqueeze(-1), 1)
        weights = scores.gather(1, offsets).sigmoid().unsqueeze(-1)
        return Compressed.even(straight_through(rows, weights), offsets)

    def scores(self, question: Tensor, embeds: Tensor) -> Tensor:
        """``(runs, tokens)`` how much each token has to do with the question."""
        # <W_q q, W_k e> = <W_k' W_q q, e>: one vector is projected instead of every token.
        direction = self.q_proj(question) @ self.k_proj.weight
        return torch.einsum("rth,rh->rt", embeds, direction) * embeds.shape[-1] ** -0.5

    def kept(self, tokens: int, grid: Grid | None) -> int:
        """See :class:`~lm_drafting.vision.compressor.SizedCompressor`."""
        return -(-tokens // self.ratio**2)

    def spec(self) -> dict[str, Any]:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        return super().spec() | {"ratio": self.ratio}
