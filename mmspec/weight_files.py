"""Named tensors in files that others made, and how they differ from those of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor


def read_file(path: Path, containers: Sequence[str]) -> dict[str, Any]:
    """What a file holds, on the CPU; pickles are read only as far as they hold plain tensors.

    Args:
        path: A safetensors file or a pickle.
        containers: Names under which training programs put the weights; the first one found is
            opened.

    Raises:
        ValueError: The file is missing or broken, or holds no named entries.
    """
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes from elsewhere fail in every way there is
        raise ValueError(
            f"{path} cannot be read safely; convert it to safetensors where you trust it: {error}"
        ) from error
    for key in containers:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} holds no named tensors, but {type(found).__name__}")
    return {str(name): value for name, value in found.items()}


def differences(
    known: Mapping[str, Tensor], weights: Mapping[str, Tensor], left_over: str
) -> list[str]:
    """Every name that is missing or ``left_over``, and every shape that differs, in words."""
    found = [f"missing {name}" for name in known if name not in weights]
    found += [f"{left_over} {name}" for name in weights if name not in known]
    found += [
        f"{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}"
        for name, value in known.items()
        if name in weights and weights[name].shape != value.shape
    ]
    return found
