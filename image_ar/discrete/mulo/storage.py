"""Up-samplers on disk."""

from __future__ import annotations

from pathlib import Path

import torch

from image_ar.discrete.mulo.upsampler import Upsampler, UpsamplerConfig
from image_ar.discrete.storage import load_network, save_network

KIND = "image-upsampler"


def save(network: Upsampler, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write an up-sampler; ``folder`` is made where it does not exist."""
    save_network(network, network.config.to_dict(), KIND, folder, dtype)


def load(folder: str | Path, device: torch.device | str = "cpu") -> Upsampler:
    """Read an up-sampler in float32, strictly.

    Raises:
        ValueError: The folder holds none, or its weights do not fit its config.
    """
    return load_network(
        folder, KIND, "up-sampler", lambda c: Upsampler(UpsamplerConfig.from_dict(c)), device
    )
