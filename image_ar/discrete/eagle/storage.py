"""Drafters on disk."""

from __future__ import annotations

from pathlib import Path

import torch

from image_ar.discrete.eagle.network import ImageEagle, ImageEagleConfig
from image_ar.discrete.storage import load_network, save_network

KIND = "image-eagle"


def save(network: ImageEagle, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write a drafter; ``folder`` is made where it does not exist."""
    save_network(network, network.config.to_dict(), KIND, folder, dtype)


def load(
    folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> ImageEagle:
    """Read a drafter, strictly.

    Raises:
        ValueError: The folder holds none, or its weights do not fit its config.
    """
    return load_network(
        folder, KIND, "drafter", lambda c: ImageEagle(ImageEagleConfig(**c)), device, dtype
    )
