"""Drafters on disk: ``config.json`` and ``model.safetensors`` with the official key names."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lm_drafting.eagle.head import EagleConfig, EagleHead
from lm_drafting.files import replace_file

ARCHITECTURE = "EagleHead"
_SHARED = "embed_tokens.weight"  # official files may carry the target's table; ours do not
_PLAIN_ROPE = (None, "default", "mrope")  # text positions are one axis, so M-RoPE is plain here


def describe(target: Any, name: str = "") -> dict[str, Any]:
    """What a drafter's config records about its target, and what loading compares."""
    return {
        "name": name or str(getattr(target, "name", "") or ""),
        "model_type": str(getattr(target, "model_type", "")),
        "hidden_size": target.decoder.hidden_size,
        "vocab_size": target.decoder.vocab_size,
        "layers": "last hidden state after the final norm",
    }


def save(head: EagleHead, folder: str | Path, target: dict[str, Any], dtype: torch.dtype) -> None:
    """Write a drafter; each file is replaced in one step.

    Args:
        head: The network.
        folder: Made if needed.
        target: From :func:`describe`.
        dtype: Number format of the weights on disk.
    """
    folder = Path(folder)
    weights = {
        key: value.detach().to("cpu", dtype).contiguous().clone()
        for key, value in head.state_dict().items()
    }
    config = {
        "architectures": [ARCHITECTURE],
        "model_type": "eagle",
        **asdict(head.config),
        "num_hidden_layers": 1,
        "hidden_act": "silu",
        "dtype": str(dtype).removeprefix("torch."),
        "target": target,
    }
    replace_file(
        folder / "model.safetensors",
        lambda path: save_file(weights, path, metadata={"format": "pt"}),
    )
    text = json.dumps(config, indent=2) + "\n"
    replace_file(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))


def load(source: str | Path, target: Any) -> EagleHead:
    """Read a drafter for a target, in the target's dtype and on its device.

    Args:
        source: A folder with ``config.json`` and ``model.safetensors`` (or the official
            ``pytorch_model.bin``), or a Hub id.
        target: The target it will draft for.

    Raises:
        ValueError: The drafter was made for another target (every difference is named), or weights
            are missing or unknown.
    """
    folder = _folder(source)
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = _weights(folder)
    table = weights.pop(_SHARED, None)
    raw.setdefault("vocab_size", table.shape[0] if table is not None else None)
    config = read_config(raw, weights, source)
    _check_target(raw, target, source)
    head = EagleHead(config)
    result = head.load_state_dict(weights, strict=False)
    if result.missing_keys or result.unexpected_keys:
        raise ValueError(
            f"{source} is no complete EAGLE-1/2 drafter: missing {sorted(result.missing_keys)}, "
            f"unknown {sorted(result.unexpected_keys)}"
        )
    like = target.embed(torch.zeros(1, dtype=torch.long, device=_device(target)))
    return head.to(device=like.device, dtype=like.dtype).requires_grad_(False).eval()


def read_config(raw: dict[str, Any], weights: dict[str, Tensor], source: object) -> EagleConfig:
    """Our configuration from a file's; biases are read off the weights, which know best.

    Raises:
        ValueError: An option this network does not have.
    """
    rope = raw.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type"))
    refused = {
        "num_hidden_layers": raw.get("num_hidden_layers", 1) != 1,
        "rope_scaling": kind not in _PLAIN_ROPE,
        "hidden_act": raw.get("hidden_act", "silu") != "silu",
    }
    if any(refused.values()):
        wrong = {key: raw.get(key) for key, bad in refused.items() if bad}
        raise ValueError(f"{source}: {wrong} is not supported; one silu layer with plain RoPE is")
    known = {field.name for field in fields(EagleConfig)}
    values = {key: value for key, value in raw.items() if key in known and value is not None}
    values["bias"] = "fc.bias" in weights
    values["qkv_bias"] = "layers.0.self_attn.q_proj.bias" in weights
    values["input_layernorm"] = "layers.0.input_layernorm.weight" in weights
    values.setdefault("num_key_value_heads", values.get("num_attention_heads"))
    try:
        return EagleConfig(**values)
    except TypeError as error:
        raise ValueError(f"{source}: config.json is incomplete: {error}") from error


def _check_target(raw: dict[str, Any], target: Any, source: object) -> None:
    """Compare what the config says of its target with the target at hand."""
    made_for = {"hidden_size": raw.get("hidden_size"), "vocab_size": raw.get("vocab_size")}
    made_for |= {key: value for key, value in (raw.get("target") or {}).items() if value}
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
            "use the drafter made for this target, or train one with `mmspec train eagle`"
        )


def _folder(source: str | Path) -> Path:
    """A local folder as it is; anything else is a Hub id, of which only two files are fetched."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    files = ["config.json", "model.safetensors", "pytorch_model.bin"]
    try:
        return Path(snapshot_download(str(source), allow_patterns=files))
    except Exception as error:
        raise ValueError(
            f"no drafter folder '{source}', and fetching it failed: {error}"
        ) from error


def _weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of the folder; pickles are read with ``weights_only`` so that no code can run."""
    if (folder / "model.safetensors").is_file():
        return dict(load_file(folder / "model.safetensors"))
    if (folder / "pytorch_model.bin").is_file():
        found = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
        return dict(found)
    raise ValueError(f"{folder} has neither model.safetensors nor pytorch_model.bin")


def _device(target: Any) -> torch.device:
    return getattr(target, "device", torch.device("cpu"))
