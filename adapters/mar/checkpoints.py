"""MAR's networks on disk: official files, and folders of ours.

An official transformer file holds ``model`` and its average ``model_ema``, which is the one to
use; an official autoencoder file holds ``model``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from adapters.mar.causal import CausalMAR
from adapters.mar.config import CAUSAL, MARConfig, infer_config
from adapters.mar.mar import MAR
from adapters.mar.vae import KL_16, LatentVAE
from adapters.mar.vae_keys import from_official
from mmspec.weight_files import differences, read_file

CONFIG, WEIGHTS = "config.json", "model.safetensors"
VAE_WEIGHTS = "diffusion_pytorch_model.safetensors"  # the name diffusers looks for
_ARCHITECTURES = (["MAR"], ["CausalMAR"])
_VAE_CLASS = "AutoencoderKL"
_MODELS, _VAES = ("model_ema", "model"), ("model",)
_LOSSES = "loss."


def save_mar(model: MAR | CausalMAR, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors``, official names, into a folder.

    Args:
        model: Not changed.
        folder: Made if needed.
        dtype: Number format on disk, that of the model by default.
    """
    folder, dtype = Path(folder), dtype or model.dtype
    folder.mkdir(parents=True, exist_ok=True)
    _save(model.state_dict(), folder / WEIGHTS, dtype)
    config = {
        "architectures": [type(model).__name__],
        **model.config.to_dict(),
        "dtype": str(dtype).removeprefix("torch."),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_mar(
    path: str | Path,
    *,
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    patch: int = 1,
) -> MAR | CausalMAR:
    """Read a model, ready for inference on the CPU in the stored number format.

    Args:
        path: A folder of ours, an official ``.pth`` file, or a ``.safetensors`` file.
        heads: Attention heads; needed for files of widths that are not released ones. Not for
            folders.
        grid: Rows and columns; needed for files whose grid is not square. Not for folders.
        patch: Side of the square of latents that makes one vector. Not for folders.

    Raises:
        ValueError: Files that cannot be read safely, or weights that do not fit; one error names
            every missing, unexpected and ill-shaped weight.
    """
    path = Path(path)
    if not path.is_dir():
        weights = read_weights(path, _MODELS)
        config = infer_config(weights, heads=heads, grid=grid, patch=patch, source=str(path))
        return build_mar(weights, config, str(path))
    said = _read_config(path)
    if said.get("architectures") not in _ARCHITECTURES:
        raise ValueError(
            f"{path / CONFIG} is of {said.get('architectures')}, not of MAR; give the folder that "
            "save_mar wrote"
        )
    known = {key: value for key, value in said.items() if key not in ("architectures", "dtype")}
    config = MARConfig.from_dict(known)
    return build_mar(read_weights(path / WEIGHTS), config, str(path))


def build_mar(
    weights: Mapping[str, Tensor], config: MARConfig, source: str = "weights"
) -> MAR | CausalMAR:
    """A model from weights under official names; they are taken over, not copied.

    Raises:
        ValueError: The weights do not fit the config; every difference is named.
    """
    with torch.device("meta"):
        model = CausalMAR(config) if config.variant == CAUSAL else MAR(config)
    if problems := differences(model.state_dict(), weights, "unexpected"):
        raise ValueError(f"{source} does not fit this model: {'; '.join(problems)}")
    model.load_state_dict(dict(weights), assign=True)
    return model.requires_grad_(False).eval()


def save_vae(vae: LatentVAE, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write the autoencoder as a diffusers folder; the patch is not part of it.

    Args:
        vae: Not changed.
        folder: Made if needed.
        dtype: Number format on disk, that of the model by default.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _save(vae.model.state_dict(), folder / VAE_WEIGHTS, dtype or vae.dtype)
    vae.model.save_config(folder)


def load_vae(path: str | Path, patch: int = 1) -> LatentVAE:
    """Read an autoencoder, ready for inference on the CPU in the stored number format.

    Args:
        path: A diffusers folder, or an official file.
        patch: Side of the square of latents that makes one vector.

    Raises:
        ValueError: Files that cannot be read safely, or weights that do not fit; one error names
            every missing, unexpected and ill-shaped weight.
    """
    path = Path(path)
    config = _read_config(path) if path.is_dir() else KL_16
    if path.is_dir() and config.get("_class_name") != _VAE_CLASS:
        raise ValueError(
            f"{path / CONFIG} is of {config.get('_class_name')}, not of a diffusers {_VAE_CLASS}"
        )
    with torch.device("meta"):
        model = AutoencoderKL.from_config(config)
    known = model.state_dict()
    if path.is_dir():
        weights = read_weights(path / VAE_WEIGHTS)
    else:
        weights = from_official(read_weights(path, _VAES), known)
    if problems := differences(known, weights, "unexpected"):
        raise ValueError(f"{path} does not fit this autoencoder: {'; '.join(problems)}")
    model.load_state_dict(weights, assign=True)
    return LatentVAE(model, patch).requires_grad_(False).eval()


def read_weights(path: Path, containers: Sequence[str] = ()) -> dict[str, Tensor]:
    """Named tensors of a file, on the CPU.

    Pickles are read only as far as they hold plain tensors and the arguments of the training
    program, which official files carry along.

    Args:
        path: A safetensors file or a pickle.
        containers: Names under which the weights may lie; the first one found is opened.

    Raises:
        ValueError: The file is missing, broken or holds no named tensors.
    """
    with torch.serialization.safe_globals([argparse.Namespace]):
        found = read_file(path, containers)
    weights = {name: value for name, value in found.items() if not name.startswith(_LOSSES)}
    strange = sorted(name for name, value in weights.items() if not isinstance(value, Tensor))
    if strange or not weights:
        raise ValueError(f"{path} holds no named tensors, but {strange or 'nothing'}")
    return weights


def _save(weights: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> None:
    plain = {
        name: value.detach().to("cpu", dtype).contiguous().clone()
        for name, value in weights.items()
    }
    save_file(plain, path, metadata={"format": "pt"})


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as the config of a model: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no named fields, but {type(found).__name__}")
    return found
