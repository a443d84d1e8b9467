"""Up-samplers on disk: ``config.json`` beside ``model.safetensors``."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from image_ar.discrete.mulo.upsampler import Upsampler, UpsamplerConfig

KIND = "image-upsampler"


def save(network: Upsampler, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write an up-sampler; ``folder`` is made where it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.to(dtype).contiguous() for key, value in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": KIND, **network.config.to_dict()}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(folder: str | Path, device: torch.device | str = "cpu") -> Upsampler:
    """Read an up-sampler in float32, strictly.

    Raises:
        ValueError: The folder holds none, or its weights do not fit its config.
    """
    place = Path(folder)
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        weights = load_file(place / "model.safetensors")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} holds no up-sampler that can be read ({error}); it needs config.json and "
            "model.safetensors"
        ) from None
    if config.pop("model_type", None) != KIND:
        raise ValueError(f"{folder} holds no up-sampler; its config names another model")
    try:
        network = Upsampler(UpsamplerConfig.from_dict(config))
        network.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the up-sampler in {folder} does not fit its config: {error}") from None
    return network.to(device).requires_grad_(False).eval()
