"""A target from an Emu3 checkpoint of transformers."""

from __future__ import annotations

from typing import Any

import torch

from adapters.emu3.conditioning import NEGATIVE_PROMPT, Emu3Conditioner
from adapters.emu3.decoder import Emu3Decoder, Emu3Pixels
from adapters.image_tokens.pretrained import check_type, ids_of_codes, read, read_model
from adapters.image_tokens.target import Defaults, ImageTokenTarget
from image_ar.discrete.grid import Grid

MODEL_TYPE = "emu3"
DEFAULTS = Defaults(guidance_scale=3.0, temperature=1.0, top_k=2048)
IMAGE_SIZE = 720
LINE_END, IMAGE_END = "<|extra_200|>", "<|extra_201|>"


def load_target(
    path: str,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    revision: str | None = None,
    image_size: int | tuple[int, int] = IMAGE_SIZE,
    negative_prompt: str = NEGATIVE_PROMPT,
) -> ImageTokenTarget:
    """Load model and processor.

    Args:
        path: Folder, or name on the Hub, in transformers' own format.
        dtype: Number format; "auto" takes the stored one. Pixels are decoded in float32.
        device: Where to put the model; None leaves it on the CPU.
        revision: Branch, tag or commit on the Hub.
        image_size: Pixels of a side, or height and width; the model was trained around 720 x 720.
        negative_prompt: What the unconditional half reads.

    Raises:
        ValueError: It cannot be loaded, is no Emu3, or the size is no multiple of a token's.
    """
    from transformers import AutoConfig, Emu3ForConditionalGeneration, Emu3Processor

    config = read(AutoConfig, path, "configuration", revision=revision)
    check_type(config, MODEL_TYPE, path)
    grid_of(config, image_size)
    processor = read(Emu3Processor, path, "processor", revision=revision)
    model = read_model(Emu3ForConditionalGeneration, path, dtype=dtype, revision=revision)
    model.model.vqmodel.float()
    return assemble(
        model.to(device or "cpu"),
        processor,
        image_size=image_size,
        negative_prompt=negative_prompt,
        name=path,
    )


def assemble(
    model: Any,
    processor: Any = None,
    *,
    image_size: int | tuple[int, int] = IMAGE_SIZE,
    negative_prompt: str = NEGATIVE_PROMPT,
    defaults: Defaults = DEFAULTS,
    name: str = MODEL_TYPE,
) -> ImageTokenTarget:
    """A target from a loaded ``Emu3ForConditionalGeneration``, as it is.

    Args:
        model: The model; the vocabulary map in its config names the picture tokens.
        processor: Its processor; None if inputs are made from ids only.
        image_size: Pixels of a side, or height and width.
        negative_prompt: What the unconditional half reads.
        defaults: How to sample.
        name: What to call the model.

    Raises:
        ValueError: Another model, an impossible size, or a vocabulary map without picture tokens.
    """
    check_type(model.config, MODEL_TYPE, name)
    grid = grid_of(model.config, image_size)
    image_ids = ids_of_codes(model.model.vocabulary_mapping.img2bpe, "Emu3")
    decoder = Emu3Decoder(model, image_ids)
    device = next(decoder.text.parameters()).device
    return ImageTokenTarget(
        decoder,
        grid=grid,
        conditioner=Emu3Conditioner(processor, grid, negative_prompt, device),
        image_decoder=Emu3Pixels(model),
        device=device,
        dtype=decoder.text.dtype,
        image_ids=image_ids,
        defaults=defaults,
        name=name,
    )


def grid_of(config: Any, image_size: int | tuple[int, int]) -> Grid:
    """The grid of a picture of this many pixels: rows that end with a token, and an end.

    Raises:
        ValueError: A side that is no multiple of a token's, or a vocabulary map without the tokens.
    """
    known = config.vocabulary_map or {}
    if missing := [token for token in (LINE_END, IMAGE_END) if token not in known]:
        raise ValueError(
            f"the vocabulary_map in the model's config lacks {' and '.join(missing)}; use the "
            "config of a released model in transformers' format"
        )
    factor = 2 ** (len(config.vq_config.channel_multiplier) - 1)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    for side in (height, width):
        if side < factor or side % factor:
            raise ValueError(
                f"image_size must be a multiple of {factor} pixels, got {height} x {width}; "
                f"{IMAGE_SIZE} is what the model was trained for"
            )
    ends = ((known[LINE_END],), (known[IMAGE_END],))
    return Grid(height // factor, width // factor, *ends)
