"""Drafter folders, local or from the Hub, opened without running anything that is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"


def fetch(source: str | Path) -> Path:
    """A local folder as it is; anything else is a Hub id, of which four kinds of files are fetched.

    Raises:
        ValueError: There is no such folder, and the Hub did not give one either.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    patterns = [CONFIG, "*.safetensors", INDEX, PICKLE]
    try:
        return Path(snapshot_download(str(source), allow_patterns=patterns))
    except Exception as error:
        raise ValueError(
            f"no drafter folder '{source}', and fetching it failed: {error}"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says; empty where there is none.

    Raises:
        ValueError: The file is no JSON object.
    """
    path = folder / CONFIG
    return _read_object(path) if path.is_file() else {}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the folder, on the host, in its stored number format.

    Safetensors, whole or in shards, come first; a pickle is read only where there are none, and
    only as far as it holds plain tensors.

    Raises:
        ValueError: There are no weights, a file is broken or holds more than tensors, or shards
            and their index disagree.
    """
    if (folder / WEIGHTS).is_file():
        return _read_safetensors(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return _read_shards(folder)
    if (folder / PICKLE).is_file():
        return _read_pickle(folder / PICKLE)
    raise ValueError(f"{folder} has none of {WEIGHTS}, {INDEX} and {PICKLE}")


def read_names(folder: Path) -> list[str]:
    """Names of the weights alone, without reading them where the format allows it.

    Raises:
        ValueError: As :func:`read_weights`.
    """
    if (folder / WEIGHTS).is_file():
        try:
            with safe_open(folder / WEIGHTS, "pt") as file:
                return list(file.keys())
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    return list(read_weights(folder))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bad JSON or bad UTF-8
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object")
    return found


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _read_shards(folder: Path) -> dict[str, Tensor]:
    places = _read_object(folder / INDEX).get("weight_map")
    if not isinstance(places, dict):
        raise ValueError(f"{folder / INDEX} has no weight_map")
    weights: dict[str, Tensor] = {}
    for name in sorted({str(place) for place in places.values()}):
        # The index is untrusted: a shard lies beside it, never elsewhere on the machine.
        if Path(name).name != name:
            raise ValueError(f"{folder / INDEX} points outside its folder: {name}")
        weights |= _read_safetensors(folder / name)
    if weights.keys() != places.keys():
        differ = sorted(weights.keys() ^ places.keys())
        raise ValueError(f"{folder / INDEX} and the shards beside it differ in {differ}")
    return weights


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # untrusted bytes fail in every way there is
        raise ValueError(
            f"{path} was refused, since reading it safely failed; convert it to safetensors where "
            f"you trust it: {error}"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(part, Tensor) for part in found.values()):
        raise ValueError(f"{path} holds something other than named tensors")
    return dict(found)
