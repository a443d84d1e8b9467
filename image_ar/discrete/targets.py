"""What methods for image tokens ask of a target beyond its role."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from image_ar.discrete.grid import Grid
from mmspec.state import State


class GuidedTarget(Protocol):
    """A target over image tokens, with or without classifier-free guidance.

    With guidance, hidden states come side by side, ``[conditional | unconditional]``, and two
    streams run in one batch of ``2 * batch`` rows, conditional rows first.
    """

    grid: Grid
    vocab_size: int
    hidden_size: int

    def embed(self, codes: Tensor) -> Tensor:
        """Input embeddings ``(..., hidden)`` of image tokens."""
        ...

    def head(self, hidden: Tensor) -> Tensor:
        """Logits ``(..., vocab)`` of hidden states after the final norm."""
        ...

    def guide(self, logits: Tensor, positions: Tensor, state: State) -> Tensor:
        """Guided logits ``(batch, n, vocab)`` of both streams ``(2 * batch, n, vocab)``.

        Args:
            logits: Of the conditional rows, then of the unconditional ones.
            positions: ``(batch, n)`` position in the sequence of the token the logits follow.
            state: Says how strongly this request is guided.
        """
        ...
