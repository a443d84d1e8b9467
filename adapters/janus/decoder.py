"""Janus of transformers as a decoder over picture codes, and its image decoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.image_tokens.guidance import GuidedDecoder
from adapters.image_tokens.pretrained import unit_range


class JanusDecoder(GuidedDecoder):
    """The language model between the generation embeddings and the generation head.

    Prompts are text ids, pictures are codes; logits are over codes only.

    Args:
        model: A ``JanusForConditionalGeneration``.
    """

    shared_vocabulary = False

    def __init__(self, model: Any) -> None:
        super().__init__(model.model.language_model, model.config.vq_config.num_embeddings)
        self.model = model.eval()

    def embed_prompt(self, ids: Tensor) -> Tensor:
        """Rows of the text embedding table."""
        return self.model.get_input_embeddings()(ids)

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of codes through the generation aligner."""
        return self.model.prepare_embeddings_for_image_generation(ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits over codes."""
        return self.model.model.generation_head(hidden).float()


class JanusPixels:
    """An :class:`~adapters.image_tokens.target.ImageDecoder` on the model's own tokenizer.

    Args:
        model: A ``JanusForConditionalGeneration``.
    """

    codebook_normalized = True

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def codebook(self) -> Tensor:
        """``(codes, dim)`` at length one, as they are decoded."""
        return F.normalize(self.model.model.vqmodel.quantize.embedding.weight.detach(), dim=-1)

    @torch.no_grad()
    def __call__(self, codes: Tensor) -> Tensor:
        """Pixels in [0, 1]."""
        return unit_range(self.model.decode_image_tokens(codes.flatten(1)).permute(0, 3, 1, 2))
