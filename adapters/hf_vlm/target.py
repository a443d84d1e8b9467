"""A transformers model with its processor as a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adapters.hf_vlm import grids
from adapters.hf_vlm.decoder import HFDecoder
from adapters.hf_vlm.prompts import Prompter
from adapters.hf_vlm.support import FRAME_VIDEO, placeholder_ids
from mmspec.token_target import TokenTarget


class HFTarget(TokenTarget):
    """The target role for a loaded transformers model.

    Args:
        model: A multimodal or causal language model.
        processor: Its processor, or its tokenizer for a text model. None where inputs are made by
            the caller.

    Attributes:
        model: The model, unmodified.
        processor: As given.
        tokenizer: The processor's tokenizer.
        stop_ids: Every id that ends a text, from the generation config and the config.
        image_token_ids: Placeholder ids of images and videos.

    Raises:
        ValueError: A model that cannot verify drafts.
    """

    decoder: HFDecoder

    def __init__(self, model: Any, processor: Any = None) -> None:
        super().__init__(HFDecoder(model))
        self.model = model
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.stop_ids = _stop_ids(model)
        self.image_token_ids = tuple(placeholder_ids(model.config))
        kinds = set(placeholder_ids(model.config).values())
        self.supports_images = "image" in kinds
        self.supports_video = "video" in kinds or model.config.model_type in FRAME_VIDEO
        self._prompter = Prompter(processor, self.supports_images)

    @property
    def model_type(self) -> str:
        """The configuration's name of the architecture."""
        return str(self.model.config.model_type)

    @property
    def device(self) -> torch.device:
        """Where inputs must be."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the text decoder."""
        return self.model.get_decoder().dtype

    def prepare(
        self,
        images: Sequence[Sequence[Any]],
        prompts: Sequence[str],
        videos: Sequence[Sequence[Any]] | None = None,
    ) -> dict[str, Tensor]:
        """Tensors for a batch of prompts; see :meth:`Prompter.encode`.

        Args:
            images: The pictures of every row, shown before its text.
            prompts: One text a row, without placeholder tokens.
            videos: The clips of every row, each a list of frames, shown after its pictures.

        Raises:
            ValueError: Counts that do not fit, pictures for a text model, stray placeholders.
        """
        if videos and any(videos) and not self.supports_video:
            raise ValueError(f"{self.model_type} takes no videos")
        encoded = self._prompter.encode(images, prompts, videos, self.device)
        # Generic tokenizers add token types that most models have no use for.
        takes = self.decoder.accepted | {"attention_mask"}
        return {key: value for key, value in encoded.items() if key in takes}

    def visual_grids(self, inputs: dict[str, Any]) -> list[list[grids.Grid | None]]:
        """Frames, rows and columns of what every row shows, in the order of the placeholders.

        One entry a picture or clip, a tile where a family cuts pictures into tiles, a frame where
        text separates the frames of a clip; the product of each is its number of placeholders,
        which run frame by frame, row by row. None stands for neighbouring placeholders, however
        many pictures they are, that lie on no grid or on none that is known.

        Args:
            inputs: As returned by ``prepare``, or as a request or a state's prompt holds them.
        """
        return grids.visual_grids(self.model.config, inputs)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out."""
        if self.tokenizer is None:
            raise ValueError("this target was built without a processor; pass one to decode text")
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def embed(self, ids: Tensor) -> Tensor:
        """Rows of the input embedding table, scaled as the model scales them."""
        return self.decoder.embed(ids)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of hidden states after the final norm, exactly as the model computes them."""
        return self.decoder.head(hidden)


def _stop_ids(model: Any) -> tuple[int, ...]:
    """Ids that end a text; models name one, several, or different ones in three places."""
    found: list[int] = []
    for config in (model.generation_config, model.config, model.config.get_text_config()):
        ids = getattr(config, "eos_token_id", None)
        found += ids if isinstance(ids, list | tuple) else [] if ids is None else [ids]
    return tuple(dict.fromkeys(int(token) for token in found))
