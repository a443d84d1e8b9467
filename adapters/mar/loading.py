"""A target from a folder of ours or from the released files, and the way back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from adapters.mar.causal import CausalMAR
from adapters.mar.checkpoints import load_mar, load_vae, save_mar, save_vae
from adapters.mar.decoders import CausalDecoder, MaskedDecoder
from adapters.mar.mar import MAR
from adapters.mar.target import LatentDefaults, LatentImageTarget
from adapters.mar.vae import LatentVAE

MODEL_TYPE = "mar"
CONFIG = "config.json"
MODEL, VAE = "model", "vae"


def load_target(
    path: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    revision: str | None = None,
    vae: str | Path | None = None,
    patch: int = 1,
) -> LatentImageTarget:
    """Load network and autoencoder.

    Only safetensors and plain tensors in pickles are read, and no code.

    Args:
        path: A folder written by :func:`save_folder`, or the file of an official network.
        dtype: Number format of the network; "auto" takes the stored one. The diffusion head and
            pixels are always computed in float32.
        device: Where to put everything; None leaves it on the CPU.
        revision: Refused: there is none for files and folders.
        vae: File or folder of the autoencoder; needed with an official network.
        patch: Side of the square of latents that makes one vector, for official files.

    Raises:
        ValueError: Something is missing or does not fit together; the message says what to give.
    """
    path = Path(path)
    if revision is not None:
        raise ValueError(f"revision={revision!r} was given; files and folders have none")
    if not path.exists():
        raise ValueError(f"there is no file or folder '{path}'")
    said = _read_config(path) if path.is_dir() else {}
    where = vae if vae is not None else (path / said.get("vae", VAE) if path.is_dir() else None)
    if where is None:
        raise ValueError(
            f"{path} is a network alone; give vae=... (--vae), the file of its autoencoder "
            "(kl16.ckpt)"
        )
    network = load_mar(path / MODEL if path.is_dir() else path, **_shape(path, patch))
    if network.head.is_untrained:
        raise ValueError(
            f"the diffusion head of {path} is freshly initialised (its last layer is all zeros) "
            "and would draw noise; train it, or load the finished weights"
        )
    place = torch.device(device or "cpu")
    network.to(place, network.dtype if dtype == "auto" else _number(dtype))
    network.head.float()
    pixels = load_vae(where, patch).to(place, torch.float32)
    defaults = said.get("defaults")
    return assemble(
        network,
        pixels,
        classes=said.get("classes"),
        defaults=None if defaults is None else LatentDefaults(**defaults),
        name=said.get("name", path.stem),
    )


def assemble(network: MAR | CausalMAR, vae: LatentVAE, **rest: Any) -> LatentImageTarget:
    """A target from its parts, as they are; ``rest`` goes to :class:`LatentImageTarget`."""
    decoder = CausalDecoder(network) if isinstance(network, CausalMAR) else MaskedDecoder(network)
    return LatentImageTarget(decoder, vae, **rest)


def save_folder(
    target: LatentImageTarget,
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    vae: str | None = None,
) -> None:
    """Write a folder that :func:`load_target` reads.

    Args:
        target: Not changed.
        folder: Made if needed.
        dtype: Number format on disk, that of the model by default.
        vae: Where the autoencoder is, relative to the folder, if it is not to be written into it.
    """
    folder = Path(folder)
    save_mar(target.network, folder / MODEL, dtype)
    if vae is None:
        save_vae(target.vae, folder / VAE, dtype)
    config = {
        "model_type": MODEL_TYPE,
        "name": target.name,
        "vae": vae or VAE,
        "defaults": asdict(target.defaults),
        "classes": None if target.classes is None else list(target.classes),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _shape(path: Path, patch: int) -> dict[str, Any]:
    return {} if path.is_dir() else {"patch": patch}


def _read_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG
    try:
        said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as a model's config: {error}") from error
    if said.get("model_type") != MODEL_TYPE:
        raise ValueError(f"{file} is of a {said.get('model_type')!r} model, not of {MODEL_TYPE!r}")
    return said


def _number(dtype: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype):
        raise ValueError(f"dtype must be auto or a torch dtype, got {dtype!r}")
    return found
