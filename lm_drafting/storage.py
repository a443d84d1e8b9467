"""Drafters on disk: ``config.json`` and ``model.safetensors`` with the official key names."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lm_drafting.checkpoints import Checkpoint, read
from lm_drafting.features.network import DraftNetwork
from lm_drafting.networks import KINDS, build_network, complete_config
from mmspec.files import replace_file


def describe(target: Any, name: str = "") -> dict[str, Any]:
    """What a drafter's config records about its target, and what loading compares."""
    return {
        "name": name or str(getattr(target, "name", "") or ""),
        "model_type": str(getattr(target, "model_type", "")),
        "hidden_size": target.decoder.hidden_size,
        "vocab_size": target.decoder.vocab_size,
    }


def save(
    network: DraftNetwork, folder: str | Path, target: dict[str, Any], dtype: torch.dtype
) -> None:
    """Write a drafter; each file is replaced in one step.

    Args:
        network: The network.
        folder: Made if needed.
        target: From :func:`describe`.
        dtype: Number format of the weights on disk.
    """
    folder = Path(folder)
    weights = {
        key: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype)
        for key, value in network.state_dict().items()
    }
    weights = {key: value.contiguous().clone() for key, value in weights.items()}
    config = {
        "architectures": [type(network).__name__],
        "model_type": network.kind,
        **asdict(network.config),
        "dtype": str(dtype).removeprefix("torch."),
        "target": target,
    }
    replace_file(
        folder / "model.safetensors",
        lambda path: save_file(weights, path, metadata={"format": "pt"}),
    )
    text = json.dumps(config, indent=2) + "\n"
    replace_file(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))


def load(source: str | Path, target: Any, kinds: tuple[str, ...] = KINDS) -> DraftNetwork:
    """Read a drafter for a target, in the target's dtype and on its device.

    Args:
        source: A folder or Hub id with a drafter of mmspec or in one of the formats that
            :mod:`lm_drafting.checkpoints` knows.
        target: The target it will draft for.
        kinds: Architectures that are wanted here.

    Raises:
        ValueError: The drafter was made for another target (every difference is named), is of
            another architecture, or weights are missing or unknown.
    """
    found = read(source)
    if found.kind not in kinds:
        raise ValueError(
            f"{source} holds a {found.kind} drafter, not {' or '.join(kinds)}; choose the method "
            f"'{found.kind}'"
        )
    _check_target(found, target, source)
    network = build_network(found.kind, complete_config(found.kind, found.config, target))
    result = network.load_state_dict(found.weights, strict=False)
    if result.missing_keys or result.unexpected_keys:
        raise ValueError(
            f"{source} is no complete {found.kind} drafter: missing {sorted(result.missing_keys)}, "
            f"unknown {sorted(result.unexpected_keys)}"
        )
    like = target.embed(torch.zeros(1, dtype=torch.long, device=target.device))
    return network.to(device=like.device, dtype=like.dtype).requires_grad_(False).eval()


def start_from(network: DraftNetwork, source: str | Path, target: Any) -> str:
    """Give a network the weights of a trained one wherever names and shapes agree.

    ViSpec's multimodal stage starts from an EAGLE drafter this way.

    Args:
        network: Changed in place.
        source: Folder or Hub id of any drafter of the same target.
        target: The target.

    Returns:
        A sentence saying what was taken and what keeps its start values.

    Raises:
        ValueError: The drafter was made for another target, or nothing in it fits.
    """
    found = read(source)
    _check_target(found, target, source)
    known = network.state_dict()
    fitting = {
        key: value
        for key, value in found.weights.items()
        if key in known and known[key].shape == value.shape
    }
    if not fitting:
        raise ValueError(f"nothing of the {found.kind} drafter in {source} fits a {network.kind}")
    fresh = sorted(known.keys() - fitting.keys())
    network.load_state_dict({**known, **fitting})
    return f"{len(fitting)} weights from {source}; fresh: {', '.join(fresh) if fresh else 'none'}"


def _check_target(found: Checkpoint, target: Any, source: object) -> None:
    """Compare what the config says of its target with the target at hand."""
    stated = found.config.get("target") or {}
    made_for = {key: found.config.get(key) for key in ("hidden_size", "vocab_size")}
    made_for |= {key: value for key, value in stated.items() if value}
    here = describe(target)
    differ = [
        f"{key} {made_for[key]} (this target has {here[key]})"
        for key in ("model_type", "hidden_size", "vocab_size")
        if made_for.get(key) and here[key] and made_for[key] != here[key]
    ]
    if differ:
        name = f" '{made_for['name']}'" if made_for.get("name") else ""
        raise ValueError(
            f"the drafter in {source} was trained for another target{name}: {', '.join(differ)}; "
            f"use the drafter made for this target, or train one with `mmspec train {found.kind}`"
        )
