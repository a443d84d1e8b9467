"""A target from a Janus checkpoint of transformers."""

from __future__ import annotations

from typing import Any

import torch

from adapters.image_tokens.pretrained import check_type, read, read_model
from adapters.image_tokens.target import Defaults, ImageTokenTarget
from adapters.janus.conditioning import JanusConditioner
from adapters.janus.decoder import JanusDecoder, JanusPixels
from image_ar.discrete.grid import Grid

MODEL_TYPE = "janus"
DEFAULTS = Defaults(guidance_scale=5.0, temperature=1.0)


def load_target(
    path: str,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    revision: str | None = None,
    image_size: int | None = None,
) -> ImageTokenTarget:
    """Load model and processor.

    Args:
        path: Folder, or name on the Hub.
        dtype: Number format; "auto" takes the stored one. Pixels are decoded in float32.
        device: Where to put the model; None leaves it on the CPU.
        revision: Branch, tag or commit on the Hub.
        image_size: Pixels of a side; only the model's own is possible.

    Raises:
        ValueError: It cannot be loaded, is no Janus, or draws pictures of another size.
    """
    from transformers import AutoConfig, JanusForConditionalGeneration, JanusProcessor

    config = read(AutoConfig, path, "configuration", revision=revision)
    check_type(config, MODEL_TYPE, path)
    _check_size(config, image_size)
    processor = read(JanusProcessor, path, "processor", revision=revision)
    model = read_model(JanusForConditionalGeneration, path, dtype=dtype, revision=revision)
    model.model.vqmodel.float()
    return assemble(model.to(device or "cpu"), processor, name=path)


def assemble(
    model: Any,
    processor: Any = None,
    *,
    defaults: Defaults = DEFAULTS,
    name: str = MODEL_TYPE,
) -> ImageTokenTarget:
    """A target from a loaded model, as it is.

    Args:
        model: A ``JanusForConditionalGeneration``; its generation config says which ids start a
            sequence and an image.
        processor: Its processor; None if inputs are made from ids only.
        defaults: How to sample.
        name: What to call the model.

    Raises:
        ValueError: Another model, or one whose config lacks an id or contradicts itself.
    """
    check_type(model.config, MODEL_TYPE, name)
    decoder = JanusDecoder(model)
    device = next(decoder.text.parameters()).device
    return ImageTokenTarget(
        decoder,
        grid=_grid(model.config),
        conditioner=JanusConditioner(processor, *_special_ids(model, processor), device),
        image_decoder=JanusPixels(model),
        device=device,
        dtype=decoder.text.dtype,
        defaults=defaults,
        name=name,
    )


def _grid(config: Any) -> Grid:
    side, tokens = config.vq_config.num_patches, config.vision_config.num_image_tokens
    if side * side != tokens:
        raise ValueError(
            f"the config says {tokens} image tokens and a grid of {side} x {side}; "
            "num_image_tokens of vision_config must be (image_size / patch_size) squared"
        )
    return Grid(side, side)


def _check_size(config: Any, image_size: int | None) -> None:
    own = config.vision_config.image_size
    if image_size not in (None, own):
        raise ValueError(
            f"this model draws {own} x {own} pixels only, got image_size={image_size}; leave it out"
        )


def _special_ids(model: Any, processor: Any) -> tuple[int, int, int]:
    """Ids that start a sequence, start an image, and pad: as generation would take them.

    The generation config knows them, as transformers wants it; the tokenizer fills in what it lost.
    """
    said = model.generation_config
    start = (getattr(said, "generation_kwargs", None) or {}).get("boi_token_id")
    known = {
        "bos_token_id": said.bos_token_id,
        "boi_token_id": start,
        "pad_token_id": said.pad_token_id,
    }
    tokenizer = getattr(processor, "tokenizer", None)
    ids = [
        getattr(tokenizer, name, None) if value is None else value for name, value in known.items()
    ]
    if missing := [name for name, found in zip(known, ids, strict=True) if found is None]:
        raise ValueError(
            f"neither the generation config nor the tokenizer knows {', '.join(missing)}; copy the "
            "released model's generation_config.json beside the weights, or set "
            "model.generation_config.generation_kwargs = {'boi_token_id': ...} and the like"
        )
    bos, image_start, pad = (int(found) for found in ids if found is not None)
    return bos, image_start, pad
