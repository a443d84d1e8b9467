"""Nothing of a picture but what the target's hidden states of the text say of it."""

from __future__ import annotations

from lm_drafting.vision.compressor import Compressed, Grid, SizedCompressor, VisualInput
from lm_drafting.vision.positions import tail


class TextOnly(SizedCompressor):
    """Drops every visual token (the text-only branch of SpecVLM, arXiv 2509.11815)."""

    kind = "text-only"
    reads = "fused"

    def forward(self, visual: VisualInput) -> Compressed:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        return Compressed.even(visual.fused[:, :0], tail(visual.tokens, 0, visual.fused.device))

    def kept(self, tokens: int, grid: Grid | None) -> int:
        """See :class:`~lm_drafting.vision.compressor.SizedCompressor`."""
        return 0
