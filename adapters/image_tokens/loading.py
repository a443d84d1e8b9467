"""Load an image model of any supported family."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from mmspec.image_target import ImageTarget

# Where the loader of each `model_type` lives; imported only when such a model is loaded.
FAMILIES = {
    "llamagen": "adapters.llamagen.loading",
    "janus": "adapters.janus.loading",
    "emu3": "adapters.emu3.loading",
    "chameleon": "adapters.chameleon.loading",
    "mar": "adapters.mar.loading",
}
_LATENTS = ("mar",)
_CONFIG = "config.json"
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
_SHARED = ("path", "revision", "dtype", "device")


def load_target(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    **options: Any,
) -> ImageTarget:
    """Load a model by its folder, file or name; ``model_type`` of its config says the family.

    Args:
        name_or_path: Folder, name on the Hub, or file of an official LlamaGen transformer.
        revision: Branch, tag or commit on the Hub.
        dtype: Number format; "auto" takes the stored one.
        device: Where to put the model; None leaves it on the CPU.
        **options: Further options of the family's loader.

    Raises:
        ValueError: Nothing is there, it is of no family known here, or its family does not take an
            option.
    """
    name = str(name_or_path)
    # Files do not say their family; only one of them comes with an autoencoder.
    kind = "mar" if "vae" in options else _model_type(name, revision)
    if kind not in FAMILIES:
        raise ValueError(
            f"'{name}' is a model of type {kind!r}, which draws no pictures here; supported are "
            f"{', '.join(FAMILIES)}"
        )
    loader = import_module(FAMILIES[kind]).load_target
    takes = [key for key in inspect.signature(loader).parameters if key not in _SHARED]
    if unknown := sorted(set(options) - set(takes)):
        raise ValueError(
            f"{kind} models do not take {', '.join(unknown)}; they take {', '.join(takes)}"
        )
    target: ImageTarget = loader(name, revision=revision, dtype=dtype, device=device, **options)
    return target


def units_of(name: str, revision: str | None = None) -> str:
    """What a model draws, ``tokens`` or ``latents``; nothing but its config is read.

    Raises:
        ValueError: A config that cannot be read.
    """
    return "latents" if _model_type(name, revision) in _LATENTS else "tokens"


def _model_type(name: str, revision: str | None) -> str:
    """The family; files, and folders without a config, can only be LlamaGen's.

    Raises:
        ValueError: A config that cannot be read.
    """
    path = Path(name)
    if path.is_dir():
        file = path / _CONFIG
        return str(_read(file).get("model_type")) if file.is_file() else "llamagen"
    looks_like_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    if path.exists() or looks_like_path or name.endswith(_WEIGHTS) or "/" not in name:
        return "llamagen"
    from transformers import PretrainedConfig

    try:
        config, _ = PretrainedConfig.get_config_dict(name, revision=revision)
    except (OSError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ValueError(
            f"there is no folder '{name}', and it cannot be loaded from the Hub: {reason}"
        ) from error
    return str(config.get("model_type"))


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as a model's config: {error}") from error
    return found
