"""Emu3 of transformers as a decoder that writes picture tokens only, and its image decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adapters.image_tokens.guidance import GuidedDecoder, ImageHead
from adapters.image_tokens.pretrained import unit_range


class Emu3Decoder(GuidedDecoder):
    """The language model with every token but the picture codes masked.

    Line ends and the like are forced by the request, not written.

    Args:
        model: An ``Emu3ForConditionalGeneration``.
        image_ids: ``(codes,)`` vocabulary ids of the codes.
    """

    def __init__(self, model: Any, image_ids: Tensor) -> None:
        super().__init__(model.model.text_model, model.config.text_config.vocab_size)
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


class Emu3Pixels:
    """An :class:`~adapters.image_tokens.target.ImageDecoder` on the model's own tokenizer.

    Args:
        model: An ``Emu3ForConditionalGeneration``.
    """

    codebook_normalized = False

    def __init__(self, model: Any) -> None:
        self.vq = model.model.vqmodel

    @property
    def codebook(self) -> Tensor:
        """``(codes, dim)``."""
        codes: Tensor = self.vq.quantize.embedding.weight.detach()
        return codes

    @torch.no_grad()
    def __call__(self, codes: Tensor) -> Tensor:
        """Pixels in [0, 1]."""
        return unit_range(self.vq.decode(codes))
