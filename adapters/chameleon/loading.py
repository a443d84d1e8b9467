"""A target from a Chameleon-style checkpoint of transformers and a separate image tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from adapters.chameleon.conditioning import ChameleonConditioner, SpecialIds, frame_of
from adapters.chameleon.decoder import ChameleonDecoder
from adapters.image_tokens.pretrained import check_type, ids_of_codes, read, read_model
from adapters.image_tokens.target import Defaults, ImageTokenTarget
from adapters.llamagen.loading import VQPixels
from adapters.llamagen.vq import CHAMELEON_VQ
from adapters.llamagen.vq_checkpoints import load_vq

MODEL_TYPE = "chameleon"
DEFAULTS = {
    "anole": Defaults(guidance_scale=3.0, temperature=1.0, top_k=2000),
    "lumina": Defaults(guidance_scale=4.0, temperature=1.0, top_k=2000),
}
IMAGE_SIZES = {"anole": 512, "lumina": 768}
# Where the image tokenizer may lie beside the weights.
VQ_PLACES = ("vq", "vqgan.ckpt", "tokenizer/vqgan.ckpt", "chameleon/tokenizer/vqgan.ckpt")
_FIRST_CODE, _CODES = 4, 8192


def load_target(
    path: str,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    revision: str | None = None,
    vq: str | Path | None = None,
    variant: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    null: str | None = None,
) -> ImageTokenTarget:
    """Load model, tokenizer and image tokenizer.

    Args:
        path: Folder, or name on the Hub.
        dtype: Number format; "auto" takes the stored one. Pixels are decoded in float32.
        device: Where to put everything; None leaves it on the CPU.
        revision: Branch, tag or commit on the Hub.
        vq: File or folder of the image tokenizer, ``vqgan.ckpt`` of the Chameleon release;
            transformers has no decoder for it. None looks beside the weights.
        variant: ``"anole"`` or ``"lumina"``; None goes by the name and the config.
        image_size: Pixels of a side, or height and width; None takes what the variant was made for.
        null: See :func:`~adapters.chameleon.conditioning.frame_of`.

    Raises:
        ValueError: Something is missing or does not fit together; the message says what to give.
    """
    from transformers import AutoConfig, AutoTokenizer, ChameleonForConditionalGeneration

    config = read(AutoConfig, path, "configuration", revision=revision)
    check_type(config, MODEL_TYPE, path)
    variant = variant or _variant(path, config)
    tokenizer_of_images = _read_vq(path, vq)
    if not config.vocabulary_map:
        config.vocabulary_map = released_vocabulary_map()
    tokenizer = read(AutoTokenizer, path, "tokenizer", revision=revision)
    model = read_model(
        ChameleonForConditionalGeneration, path, dtype=dtype, revision=revision, config=config
    )
    place = torch.device(device or "cpu")
    return assemble(
        model.to(place),
        tokenizer_of_images.to(place, torch.float32),
        tokenizer,
        variant=variant,
        image_size=image_size,
        null=null,
        name=path,
    )


def assemble(
    model: Any,
    vq: Any,
    tokenizer: Any = None,
    *,
    variant: str = "anole",
    image_size: int | tuple[int, int] | None = None,
    null: str | None = None,
    ids: SpecialIds | None = None,
    defaults: Defaults | None = None,
    name: str = MODEL_TYPE,
) -> ImageTokenTarget:
    """A target from loaded parts, as they are.

    Args:
        model: A ``ChameleonForConditionalGeneration``; the vocabulary map in its config names the
            picture tokens.
        vq: A :class:`~adapters.llamagen.vq.VQModel`.
        tokenizer: The text tokenizer; None if inputs are made from ids only.
        variant: ``"anole"`` or ``"lumina"``.
        image_size: Pixels of a side, or height and width.
        null: See :func:`~adapters.chameleon.conditioning.frame_of`.
        ids: The ids that frame a picture; None takes those of the released models.
        defaults: How to sample; None takes what the variant likes.
        name: What to call the model.

    Raises:
        ValueError: Another model, no image tokenizer or one of another model, an impossible size.
    """
    check_type(model.config, MODEL_TYPE, name)
    if vq is None:
        raise ValueError(_missing_vq(name))
    ids = ids or SpecialIds()
    size = IMAGE_SIZES.get(variant, 0) if image_size is None else image_size
    sides = (size, size) if isinstance(size, int) else size
    frame = frame_of(variant, sides, vq.config.downsampling, ids, null)
    image_ids = ids_of_codes(model.model.vocabulary_mapping.img2bpe, "Chameleon")
    decoder = ChameleonDecoder(model, image_ids)
    device = next(decoder.text.parameters()).device
    return ImageTokenTarget(
        decoder,
        grid=frame.grid,
        conditioner=ChameleonConditioner(tokenizer, frame, ids, device),
        image_decoder=VQPixels(vq),
        device=device,
        dtype=model.dtype,
        image_ids=image_ids,
        defaults=defaults or DEFAULTS[variant],
        name=name,
    )


def released_vocabulary_map(codes: int = _CODES, first: int = _FIRST_CODE) -> dict[str, int]:
    """Names of the picture tokens, for configs that lack them; transformers reads codes off them.

    Digits are written as letters, A for 0 to J for 9, and the name ends with Z.
    """
    letters = str.maketrans("0123456789", "ABCDEFGHIJ")
    return {f"IMGIMG{str(code).translate(letters)}Z": first + code for code in range(codes)}


def _variant(path: str, config: Any) -> str:
    named = " ".join([path, *(config.architectures or ())]).lower()
    return "lumina" if "lumina" in named or "xllmx" in named else "anole"


def _read_vq(path: str, vq: str | Path | None) -> Any:
    """The image tokenizer: as given, else the first found beside the weights.

    Raises:
        ValueError: There is none.
    """
    places = [Path(path) / place for place in VQ_PLACES] if vq is None else [Path(vq)]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise ValueError(
            _missing_vq(path) if vq is None else f"vq: there is no file or folder '{vq}'"
        )
    return load_vq(found) if found.is_dir() else load_vq(found, CHAMELEON_VQ)


def _missing_vq(name: str) -> str:
    return (
        f"'{name}' has no decoder from codes to pixels, transformers leaves it out; give vq=..., "
        "the vqgan.ckpt of the Chameleon release, or put it beside the weights"
    )
