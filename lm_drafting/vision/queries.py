"""ViSpec's vision adaptor: a few learned queries, the last of which sums the picture up."""

from __future__ import annotations

from typing import Any

from torch import nn

from lm_drafting.vision.compressor import Compressed, VisualCompressor, VisualInput
from lm_drafting.vision.cross_attention import cross_attend, new_queries
from lm_drafting.vision.positions import tail


class Queries(VisualCompressor):
    """One multi-head cross-attention of ``num_q`` queries on the embeddings of a run.

    ViSpec (arXiv 2509.15235): no rotary positions, norm or residual. The first ``num_q - 1``
    outputs stand at the end of the run in its place; the last is the summary, the global vector
    that is mixed into the text behind the picture. Parameters have the names and shapes of the
    official checkpoints' ``imadpt``.

    Args:
        hidden: Width of embeddings.
        num_q: Queries, the summary's included.
        heads: Attention heads; the official checkpoints have as many as their drafter's layer.
        qkv_bias: Whether keys and values have biases (Qwen targets).
    """

    kind = "queries"
    reads = "embeds"

    def __init__(self, hidden: int, num_q: int = 2, heads: int = 8, qkv_bias: bool = False) -> None:
        super().__init__()
        self.q = new_queries(num_q, hidden, heads)
        self.k_proj = nn.Linear(hidden, hidden, bias=qkv_bias)
        self.v_proj = nn.Linear(hidden, hidden, bias=qkv_bias)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)
        self.reset_parameters()

    def forward(self, visual: VisualInput) -> Compressed:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        offsets = tail(visual.tokens, len(self.q) - 1, visual.embeds.device)
        keys, values = self.k_proj(visual.embeds), self.v_proj(visual.embeds)
        out = self.o_proj(cross_attend(self.q, keys, values))  # (runs, num_q, hidden)
        return Compressed.even(out[:, :-1], offsets, summary=out[:, -1])

    def spec(self) -> dict[str, Any]:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        num_q, heads, _ = self.q.shape
        qkv_bias = self.k_proj.bias is not None
        return super().spec() | {"num_q": num_q, "heads": heads, "qkv_bias": qkv_bias}
