"""From prompts to Emu3's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from adapters.image_tokens.prompting import guided_inputs, only_prompts
from image_ar.discrete.grid import Grid

# What the unconditional half reads in place of the prompt, unless the caller says otherwise.
NEGATIVE_PROMPT = (
    "low quality, low resolution, blurry, jpeg artifacts, watermark, text, bad anatomy"
)
_PIXELS_A_TOKEN = 8  # what the processor counts with


class Emu3Conditioner:
    """Prompts followed by the image start and the size of the grid.

    The unconditional half is a negative prompt followed by the same.

    Args:
        processor: An ``Emu3Processor``; None if inputs are made from ids only.
        grid: What is drawn.
        negative_prompt: What the unconditional half reads.
        device: Where the inputs must be.
    """

    classes: tuple[str, ...] | None = None

    def __init__(
        self,
        processor: Any,
        grid: Grid,
        negative_prompt: str = NEGATIVE_PROMPT,
        device: torch.device | str = "cpu",
    ) -> None:
        self.processor, self.grid, self.device = processor, grid, device
        self.negative_prompt = negative_prompt

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
        rows = [self._ids(text) for text in only_prompts(prompts, "Emu3")]
        null_rows = [self._ids(self.negative_prompt)] * len(rows)
        return guided_inputs(rows, null_rows, guidance_scale, cfg_interval, self.device)

    def _ids(self, text: str) -> list[int]:
        if self.processor is None:
            raise ValueError(
                "this target was built without a processor; pass processor=..., or make inputs "
                "with adapters.image_tokens.prompting.guided_inputs"
            )
        height, width = (side * _PIXELS_A_TOKEN for side in (self.grid.rows, self.grid.columns))
        encoded = self.processor(
            text=[text],
            return_for_image_generation=True,
            ratio=f"{width}:{height}",
            image_area=height * width,
            return_tensors="pt",
        )
        ids: list[int] = encoded["input_ids"][0].tolist()
        return ids
