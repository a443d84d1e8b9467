"""Small trained networks on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmspec.files import replace_file

Network = TypeVar("Network", bound=nn.Module)


def save_network(
    network: nn.Module, config: dict[str, Any], kind: str, folder: Path, dtype: torch.dtype
) -> None:
    """Write a network and its config; ``folder`` is made where it does not exist."""
    weights = {key: value.to(dtype).contiguous() for key, value in network.state_dict().items()}
    notes = {"format": "pt"}
    replace_file(folder / "model.safetensors", lambda path: save_file(weights, path, notes))
    text = json.dumps({"model_type": kind, **config}, indent=2) + "\n"
    replace_file(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))


def load_network(
    folder: str | Path,
    kind: str,
    what: str,
    build: Callable[[dict[str, Any]], Network],
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Network:
    """Read a network, strictly; it comes in eval mode and without gradients.

    Args:
        folder: Where it was saved.
        kind: ``model_type`` of its config.
        what: What errors call it.
        build: From the rest of the config to a network.
        device: Where to put it.
        dtype: Number format; None takes float32.

    Raises:
        ValueError: The folder holds none, or its weights do not fit its config.
    """
    place = Path(folder)
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        weights = load_file(place / "model.safetensors")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} holds no {what} that can be read ({error}); it needs config.json and "
            "model.safetensors"
        ) from None
    if config.pop("model_type", None) != kind:
        raise ValueError(f"{folder} holds no {what}; its config names another model")
    try:
        network = build(config)
        network.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the {what} in {folder} does not fit its config: {error}") from None
    return network.to(device, dtype).requires_grad_(False).eval()
