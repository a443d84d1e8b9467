"""From prompts to Janus's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from adapters.image_tokens.prompting import guided_inputs, only_prompts


class JanusConditioner:
    """Prompts in the model's chat format, followed by the start of an image.

    The unconditional half is the same prompt with every token but the start of the sequence and the
    start of the image replaced by padding, which is looked at like any other token.

    Args:
        processor: A ``JanusProcessor``; None if inputs are made from ids only.
        bos: Id that starts a sequence.
        image_start: Id that starts an image.
        pad: Id of the padding.
        device: Where the inputs must be.
    """

    classes: tuple[str, ...] | None = None

    def __init__(
        self,
        processor: Any,
        bos: int,
        image_start: int,
        pad: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.processor, self.device = processor, device
        self.bos, self.image_start, self.pad = bos, image_start, pad

    def __call__(
        self,
        prompts: Sequence[str] | None,
        class_ids: Sequence[int] | None,
        guidance_scale: float,
        cfg_interval: int,
    ) -> dict[str, Any]:
        """See :func:`~adapters.image_tokens.prompting.guided_inputs`.

        Raises:
            ValueError: Classes, an empty prompt, or no processor.
        """
        texts = only_prompts(prompts, "Janus")
        rows = [self._ids(text) for text in texts]
        return self.from_ids(rows, guidance_scale, cfg_interval)

    def from_ids(
        self, rows: Sequence[Sequence[int]], guidance_scale: float, cfg_interval: int = -1
    ) -> dict[str, Any]:
        """Inputs from prompt ids that end with the start of the image."""
        null_rows = [self.null(row) for row in rows]
        return guided_inputs(rows, null_rows, guidance_scale, cfg_interval, self.device)

    def null(self, row: Sequence[int]) -> list[int]:
        """The unconditional prompt to a conditional one."""
        kept = (self.bos, self.image_start)
        return [token if token in kept else self.pad for token in row]

    def _ids(self, text: str) -> list[int]:
        if self.processor is None:
            raise ValueError(
                "this target was built without a processor; pass processor=..., or make inputs "
                "with target.conditioner.from_ids"
            )
        if getattr(self.processor, "chat_template", None):
            message = {"role": "user", "content": [{"type": "text", "text": text}]}
            text = self.processor.apply_chat_template([message], add_generation_prompt=True)
        encoded = self.processor(text=[text], generation_mode="image", return_tensors="pt")
        ids: list[int] = encoded["input_ids"][0].tolist()
        return ids
