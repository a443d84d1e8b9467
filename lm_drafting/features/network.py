"""What a drafter's network answers, whatever its architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lm_drafting.targets import FeatureTarget
from lm_drafting.vision.compressor import VisualCompressor

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Rope = tuple[Tensor, Tensor]


class DraftNetwork(nn.Module, ABC):
    """One small causal layer over *rows*, one row a position.

    A row joins the embedding of token ``j + 1`` with the target's hidden state of position ``j``;
    the network's output there predicts what the target's hidden state of position ``j + 1`` says
    of token ``j + 2``. The rows of pictures may be replaced by fewer rows of a compressor.

    Attributes:
        kind: Name of the architecture, in configurations and messages.
        title: The same for people.
        about: One sentence for model cards.
        config: Shape; a dataclass with at least ``hidden_size`` and ``vocab_size``, the target's.
        compressor: Shortens pictures; None reads every visual token.
        target_layers: Layers of the target whose inputs it reads side by side; None for the last
            hidden state after the final norm.
        reads_summary: Whether its rows mix in the compressor's vector of the latest picture.
        steps: Tokens that one forward pass predicts in a row.
        cache_shape: Key/value heads and their width.
        row_size: Width of a row.
        rope_theta: Base of the rotary frequencies.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    config: Any
    # No default here: a class attribute would hide the submodule of this name.
    compressor: VisualCompressor | None
    target_layers: tuple[int, ...] | None = None
    reads_summary: bool = False
    steps: int = 1

    @property
    def cache_shape(self) -> tuple[int, int]:
        """Key/value heads, and the width of one."""
        return self.config.num_key_value_heads, self.config.head_dim

    @property
    def row_size(self) -> int:
        """Width of a row."""
        return int(self.config.hidden_size)

    @abstractmethod
    def fuse(self, embeds: Tensor, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """Rows ``(..., row)`` of embeddings ``(..., hidden)`` and the target's own features.

        Args:
            embeds: Decoder inputs of tokens ``j + 1``.
            features: The target's hidden states of positions ``j``, of all layers read.
            summary: ``(..., hidden)`` the compressor's vector of the latest picture before each
                row; None stands for zeros.
        """

    def fuse_own(self, embeds: Tensor, hidden: Tensor, summary: Tensor | None = None) -> Tensor:
        """Rows whose hidden states the network predicted itself."""
        return self.fuse(embeds, hidden, summary)

    def condense(self, features: Tensor) -> Tensor:
        """The target's hidden states as a compressor reads them, at the width of its rows."""
        return features

    def admit(self, rows: Tensor) -> Tensor:
        """Rows of a compressor that reads embeddings or hidden states, at the width of a row."""
        return rows

    @abstractmethod
    def forward(self, rows: Tensor, rope: Rope, attend: Attend) -> Tensor:
        """Predicted hidden states ``(batch, n, steps * hidden)``.

        Args:
            rows: ``(batch, n, row)``.
            rope: Cosines and signed sines of the positions; see
                :class:`lm_drafting.features.rotary.Rotary`.
            attend: Maps queries, keys and values ``(batch, heads, n, head_dim)`` to the attention's
                output; knows the cache and the mask.
        """

    def logits(self, hidden: Tensor, target: FeatureTarget) -> Tensor:
        """Logits ``(..., draft vocabulary)`` of predicted hidden states ``(..., hidden)``."""
        return target.head(hidden)

    def narrow(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The target's law over the draft vocabulary, for training.

        Returns:
            Probabilities ``(..., draft vocabulary)`` of the target's logits ``(..., vocab)``, and
            1 where the target's best token is in that vocabulary, 0 elsewhere, ``(...)``.
        """
        return logits.softmax(-1), torch.ones_like(logits[..., 0])

    def to_target(self, ids: Tensor) -> Tensor:
        """Target ids of draft-vocabulary ids."""
        return ids

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Start values for training, drawn from ``generator``: every projection keeps its scale.

        The compressor draws first. Passing the hidden state on unchanged would be a bad start: it
        repeats the token just seen.
        """
        if self.compressor is not None:
            self.compressor.reset_parameters(generator)
        for name, weight in self.named_parameters():
            if name.startswith("compressor."):
                continue
            if weight.dim() > 1:
                weight.normal_(0.0, weight.shape[1] ** -0.5, generator=generator)
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)

    def anneal(self, share: float, seed: int) -> None:
        """Told before every training step: share of the training done, and a seed of this step."""
        if self.compressor is not None:
            self.compressor.anneal(share, seed)
