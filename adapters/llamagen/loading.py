"""A target from a folder of ours or from the released files, and the way back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.image_tokens.target import Conditioner, Defaults, ImageTokenTarget
from adapters.llamagen.checkpoints import load_gpt, save_gpt
from adapters.llamagen.config import CLASSES, TEXT
from adapters.llamagen.decoder import LlamaGenDecoder
from adapters.llamagen.gpt import GPT
from adapters.llamagen.prompting import ClassConditioner, TextConditioner, load_text_encoder
from image_ar.discrete.grid import Grid

MODEL_TYPE = "llamagen"
CONFIG = "config.json"
# What the released models were shown with.
DEFAULTS = {CLASSES: Defaults(4.0, 1.0, 2000), TEXT: Defaults(7.5, 1.0, 1000)}
# The released transformers all write one token for 16 x 16 pixels and say the pixels in their name.
_PIXELS = re.compile(r"_(256|384|512)\.(pt|pth|safetensors)$")
_PIXELS_A_TOKEN = 16


class VQPixels:
    """An :class:`~adapters.image_tokens.target.ImageDecoder` on a tokenizer for [-1, 1]."""

    def __init__(self, vq: Any) -> None:
        self.vq = vq.eval()

    @property
    def codebook(self) -> Tensor:
        """``(codes, dim)`` as the decoder sees it."""
        codes: Tensor = self.vq.codebook
        return codes

    @property
    def codebook_normalized(self) -> bool:
        """Whether codes are brought to length one before they are decoded."""
        return bool(self.vq.config.l2_norm)

    def __call__(self, codes: Tensor) -> Tensor:
        """Pixels in [0, 1]."""
        return (self.vq.decode(codes).float() * 0.5 + 0.5).clamp(0, 1)

    def encode(self, pixels: Tensor) -> Tensor:
        """Codes ``(batch, rows, columns)`` of pixels in [0, 1]."""
        codes: Tensor = self.vq.encode(pixels * 2 - 1)
        return codes


def load_target(
    path: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    revision: str | None = None,
    vq: str | Path | None = None,
    grid: int | None = None,
    image_size: int | None = None,
    n_head: int | None = None,
    text_encoder: Any = None,
    tokenizer: Any = None,
) -> ImageTokenTarget:
    """Load transformer, image tokenizer and, for texts, the text encoder.

    Only safetensors and plain tensors in pickles are read, and no code.

    Args:
        path: A folder written by :func:`save_folder`, or the file of an official transformer.
        dtype: Number format of transformer and text encoder; "auto" takes the stored one. Pixels
            are always decoded in float32.
        device: Where to put everything; None leaves it on the CPU.
        revision: Refused: there is none for files and folders.
        vq: File or folder of the image tokenizer; needed with an official transformer.
        grid: Rows and columns of tokens, where the file does not say it.
        image_size: Pixels of a side, instead of ``grid``.
        n_head: Heads, for an official-style file of no released size.
        text_encoder: A T5 encoder, its folder, or its name; needed with an official text model.
        tokenizer: Its tokenizer; None loads the one beside the encoder.

    Raises:
        ValueError: Something is missing or does not fit together; the message says what to give.
    """
    path = Path(path)
    _check_asked(path, revision, grid, image_size)
    folder = _read_config(path)
    said = folder or {}
    vq_path = vq if vq is not None else (path / said.get("vq", "vq") if folder else None)
    if vq_path is None:
        raise ValueError(
            f"{path} is a transformer alone; give vq=... (--vq), the file of its image tokenizer "
            "(vq_ds16_c2i.pt or vq_ds16_t2i.pt)"
        )
    text = path / said.get("text_encoder", "text_encoder")
    if folder and text_encoder is None and text.is_dir():
        text_encoder = text
        if tokenizer is None and (path / "tokenizer").is_dir():
            tokenizer = path / "tokenizer"
    pixels = VQPixels(_load_vq(Path(vq_path)))
    side = _side(path, grid, image_size, pixels.vq.config.downsampling)
    gpt = load_gpt(path / "gpt" if folder else path, grid=side, n_head=n_head)
    _check_codes(gpt, pixels)
    number = gpt.dtype if dtype == "auto" else _number(dtype)
    place = torch.device(device or "cpu")
    conditioner = _conditioner(
        gpt, path, said, text_encoder, tokenizer, (place, number, folder is None)
    )
    pixels.vq.to(place, torch.float32)
    defaults = said.get("defaults")
    return assemble(
        gpt.to(place, number),
        pixels.vq,
        conditioner,
        defaults=None if defaults is None else Defaults(**defaults),
        name=said.get("name", path.stem),
    )


def assemble(
    gpt: GPT,
    vq: Any,
    conditioner: Conditioner,
    *,
    defaults: Defaults | None = None,
    name: str = MODEL_TYPE,
) -> ImageTokenTarget:
    """A target from its parts, as they are.

    Raises:
        ValueError: The transformer writes other codes than the tokenizer has.
    """
    side = gpt.config.grid
    return ImageTokenTarget(
        LlamaGenDecoder(gpt),
        grid=Grid(side, side),
        conditioner=conditioner,
        image_decoder=VQPixels(vq),
        device=gpt.device,
        dtype=gpt.dtype,
        defaults=defaults or DEFAULTS[gpt.config.model_type],
        name=name,
    )


def save_folder(
    folder: str | Path,
    gpt: GPT,
    vq: Any,
    *,
    defaults: Defaults | None = None,
    classes: Sequence[str] | None = None,
    text_encoder: Any = None,
    tokenizer: Any = None,
    name: str = MODEL_TYPE,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model so that :func:`load_target` finds all of it.

    Args:
        folder: Made if needed; gets ``config.json``, ``gpt/``, ``vq/`` and ``text_encoder/``.
        gpt: Not changed.
        vq: Not changed.
        defaults: How to sample; those of the released models when not given.
        classes: Names of the classes.
        text_encoder: A transformers encoder, saved with its tokenizer.
        tokenizer: Its tokenizer.
        name: What to call the model.
        dtype: Number format of the transformer on disk, its own by default.
    """
    from adapters.llamagen.vq_checkpoints import save_vq

    folder = Path(folder)
    save_gpt(gpt, folder / "gpt", dtype)
    save_vq(vq, folder / "vq")
    for part in (text_encoder, tokenizer):
        if part is not None:
            part.save_pretrained(folder / "text_encoder")
    config = {
        "model_type": MODEL_TYPE,
        "name": name,
        "grid": gpt.config.grid,
        "defaults": asdict(defaults or DEFAULTS[gpt.config.model_type]),
        "classes": None if classes is None else list(classes),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _conditioner(
    gpt: GPT,
    path: Path,
    said: dict[str, Any],
    text_encoder: Any,
    tokenizer: Any,
    how: tuple[torch.device, torch.dtype, bool],
) -> Conditioner:
    """The maker of inputs; ``how`` is device, number format, and whether prompts are tidied."""
    config, (place, number, clean) = gpt.config, how
    if config.model_type == CLASSES:
        names = said.get("classes")
        if names is not None and len(names) != config.num_classes:
            raise ValueError(
                f"{path} names {len(names)} classes and its transformer knows "
                f"{config.num_classes}; correct classes in {path / CONFIG}"
            )
        return ClassConditioner(config.num_classes, place, names)
    if text_encoder is None:
        raise ValueError(
            f"{path} draws texts and comes without a text encoder; give text_encoder=... "
            "(--text-encoder), for the released models Flan-T5-XL"
        )
    encoder, tokenizer = load_text_encoder(text_encoder, tokenizer, number)
    return TextConditioner(
        encoder.to(place), tokenizer, config.cls_token_num, config.caption_dim, place, clean
    )


def _load_vq(path: Path) -> Any:
    """A tokenizer; the shape of an official file is told by its number of resolutions."""
    from adapters.llamagen.vq import VQ_8, VQ_16
    from adapters.llamagen.vq_checkpoints import build_vq, load_vq, read_vq_weights

    if path.is_dir():
        return load_vq(path)
    weights = read_vq_weights(path)
    deep = any(name.startswith("encoder.conv_blocks.4.") for name in weights)
    return build_vq(weights, VQ_16 if deep else VQ_8, str(path))


def _check_asked(
    path: Path, revision: str | None, grid: int | None, image_size: int | None
) -> None:
    """Refuse what no file needs to be read for."""
    if not path.exists():
        raise ValueError(
            f"there is no file or folder '{path}'; LlamaGen's models are loaded from downloaded "
            "files: give the path of the transformer's .pt file and vq=..."
        )
    if revision is not None:
        raise ValueError(f"revision={revision!r} is for Hub names; '{path}' is on this disk")
    if grid is not None and image_size is not None:
        raise ValueError("give grid or image_size, not both")


def _read_config(path: Path) -> dict[str, Any] | None:
    """``config.json`` of a folder of ours; None for official files."""
    file = path / CONFIG
    if not path.is_dir() or not (path / "gpt").is_dir():
        return None
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as a model's config: {error}") from error
    if found.get("model_type") != MODEL_TYPE:
        raise ValueError(f"{file} is of a model of type {found.get('model_type')!r}")
    return found


def _side(path: Path, grid: int | None, image_size: int | None, factor: int) -> int | None:
    """Rows and columns of tokens: as asked, else as the name of a released file says.

    Raises:
        ValueError: The name says otherwise, or pixels are no multiple of a token's.
    """
    if image_size is not None:
        if image_size % factor:
            raise ValueError(f"image_size must be a multiple of {factor}, got {image_size}")
        grid = image_size // factor
    named = _PIXELS.search(path.name)
    if named is None:
        return grid
    side = int(named[1]) // _PIXELS_A_TOKEN
    if grid not in (None, side):
        raise ValueError(
            f"{path.name} writes {side} x {side} tokens by its name, not {grid} x {grid}; leave "
            "grid and image_size out, or rename the file if it is a model of your own"
        )
    return side


def _check_codes(gpt: GPT, pixels: VQPixels) -> None:
    codes = len(pixels.codebook)
    if codes != gpt.config.vocab_size:
        raise ValueError(
            f"the transformer writes {gpt.config.vocab_size} codes and the image tokenizer has "
            f"{codes}; give the tokenizer it was trained with as vq"
        )


def _number(dtype: str | torch.dtype) -> torch.dtype:
    found = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype, None)
    if found not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"dtype must be auto, float32, bfloat16 or float16, got {dtype!r}")
    return found
