"""Tokenizers on disk: official `.pt` files, safetensors, and folders with ``config.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mmspec.weight_files import differences, read_file

from .vq import VQConfig, VQModel

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
MODEL_TYPE = "vq_image_tokenizer"
# Where training programs put the weights; averaged weights come first.
_CONTAINERS = ("ema", "model", "state_dict", "module")
# Statistics and losses of the training programs: no part of the tokenizer.
_IGNORED = ("quantize.codebook_used", "loss.")
_MIDDLE = {"block_1": "0", "attn_1": "1", "block_2": "2"}


def load_vq(path: str | Path, config: VQConfig | None = None) -> VQModel:
    """Read a tokenizer, ready for inference on the CPU in the stored number format.

    Args:
        path: A folder written by :func:`save_vq`, or a `.safetensors` or pickled file.
        config: Shape; read from the folder's ``config.json`` when not given.

    Raises:
        ValueError: The file cannot be read safely, or its weights do not fit the shape; every
            missing, unknown and ill-shaped weight is named.
    """
    path = Path(path)
    if path.is_dir():
        config = config or read_vq_config(path)
        path = path / WEIGHTS
    if config is None:
        raise ValueError(
            f"{path} does not say its shape; give config, one of VQ_CONFIGS in adapters.llamagen.vq"
        )
    return build_vq(read_vq_weights(path), config, str(path))


def build_vq(weights: Mapping[str, Tensor], config: VQConfig, source: str) -> VQModel:
    """Build a tokenizer from weights under official names; they are taken over, not copied.

    Raises:
        ValueError: The weights do not fit the shape; every difference is named.
    """
    with torch.device("meta"):
        model = VQModel(config)
    known = model.state_dict()
    _check(known, weights, source)
    model.load_state_dict({name: weights[name] for name in known}, assign=True)
    return model.requires_grad_(False).eval()


def save_vq(model: VQModel, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors`` into a folder, made if needed.

    Args:
        model: Not changed.
        folder: Where to.
        dtype: Number format on disk, that of the model by default.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = dtype or model.dtype
    weights = {
        name: value.detach().to("cpu", dtype).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    config = {
        "architectures": [type(model).__name__],
        "model_type": MODEL_TYPE,
        **asdict(model.config),
        "dtype": str(dtype).removeprefix("torch."),
    }
    for name, write in (
        (WEIGHTS, lambda target: save_file(weights, target, metadata={"format": "pt"})),
        (CONFIG, lambda target: target.write_text(json.dumps(config, indent=2) + "\n")),
    ):
        fresh = folder / (name + ".new")
        write(fresh)
        fresh.chmod(0o644)
        fresh.replace(folder / name)


def read_vq_config(folder: Path) -> VQConfig:
    """Read the shape out of a folder's ``config.json``.

    Raises:
        ValueError: There is none, or it is of another model or has unknown fields.
    """
    path = folder / CONFIG
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as the config of a tokenizer: {error}") from error
    if found.get("model_type") != MODEL_TYPE:
        raise ValueError(
            f"{path} is of a model of type {found.get('model_type')!r}, not {MODEL_TYPE!r}"
        )
    shape = {k: v for k, v in found.items() if k not in ("architectures", "model_type", "dtype")}
    if unknown := sorted(shape.keys() - {field.name for field in fields(VQConfig)}):
        raise ValueError(f"{path} has unknown fields {unknown}")
    return VQConfig(**{**shape, "ch_mult": tuple(shape.get("ch_mult", VQConfig.ch_mult))})


def read_vq_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a file under official names, on the CPU.

    Pickles are read only as far as they hold plain tensors. Containers of training programs are
    opened; the names of the original VQGAN (Chameleon's files) are translated.

    Raises:
        ValueError: The file is missing, broken, or holds no named tensors.
    """
    found = read_file(path, _CONTAINERS)
    weights = {key: value for key, value in found.items() if not key.startswith(_IGNORED)}
    if strange := sorted(key for key, value in weights.items() if not isinstance(value, Tensor)):
        raise ValueError(f"{path} holds something other than named tensors: {strange}")
    return _translate(weights)


def _translate(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of the original VQGAN (`down.1.block.0`, `up.3.attn.0`, `mid.block_1`) to ours."""
    ups = {key.split(".")[2] for key in weights if key.startswith("decoder.up.")}
    translated = {}
    for key, value in weights.items():
        parts = key.split(".")
        if parts[1:2] in (["down"], ["up"]) and len(parts) > 3:
            # The decoder counts its levels from the largest there, from the smallest here.
            level = parts[2] if parts[1] == "down" else str(len(ups) - 1 - int(parts[2]))
            kind = "res" if parts[3] == "block" else parts[3]
            parts[1:4] = ["conv_blocks", level, kind]
        elif parts[1:2] == ["mid"] and parts[2] in _MIDDLE:
            parts[2] = _MIDDLE[parts[2]]
        translated[".".join(parts)] = value
    return translated


def _check(known: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str) -> None:
    """Compare names and shapes; raise one error that names all differences."""
    if problems := differences(known, weights, "unknown"):
        raise ValueError(f"{source} does not fit this tokenizer: {'; '.join(problems)}")
