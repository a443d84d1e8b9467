"""Chameleon of transformers as a decoder that writes picture tokens only."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from adapters.image_tokens.guidance import GuidedDecoder, ImageHead


class ChameleonDecoder(GuidedDecoder):
    """The language model with every token but the picture codes masked.

    The model's own ``forward`` does the opposite, it forbids the codes; so it is entered below.

    Args:
        model: A ``ChameleonForConditionalGeneration``.
        image_ids: ``(codes,)`` vocabulary ids of the codes.
    """

    def __init__(self, model: Any, image_ids: Tensor) -> None:
        super().__init__(model.model, model.config.vocab_size)
        self.model = model.eval()
        self._head = ImageHead(model.lm_head, image_ids)

    def embed_prompt(self, ids: Tensor) -> Tensor:
        """Rows of the embedding table."""
        return self.embed(ids)

    def embed(self, ids: Tensor) -> Tensor:
        """Rows of the embedding table."""
        return self.model.get_input_embeddings()(ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of the picture codes; every other id has a large negative number."""
        return self._head(hidden)
