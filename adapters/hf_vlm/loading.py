"""Load a target by name or folder, with refusals before any weight is read."""

from __future__ import annotations

from typing import Any

import torch

from adapters.hf_vlm.support import MULTIMODAL, check_config
from adapters.hf_vlm.target import HFTarget


def load_target(
    name_or_path: str,
    *,
    revision: str | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    device_map: Any = None,
    attn_implementation: str | None = None,
) -> HFTarget:
    """Load a model and its processor from the Hub or a folder.

    Code from the repository is never run, and only safetensors weights are read.

    Args:
        name_or_path: Hub name or folder.
        revision: Branch, tag or commit on the Hub.
        dtype: Number format; "auto" takes the checkpoint's own.
        device: Where to put the model; None leaves it on the CPU. Not together with ``device_map``.
        device_map: As in ``from_pretrained``; needs accelerate.
        attn_implementation: "sdpa" or "eager".

    Raises:
        ValueError: An unsupported model type, or a name that cannot be loaded; one sentence each.
    """
    if device is not None and device_map is not None:
        raise ValueError("give device or device_map, not both")
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoTokenizer,
    )

    config = _load(AutoConfig, name_or_path, "configuration", revision=revision)
    check_config(config)
    multimodal = config.model_type in MULTIMODAL
    reader = AutoProcessor if multimodal else AutoTokenizer
    processor = _load(reader, name_or_path, "processor", revision=revision)
    # Batches are turned to right padding anyway; the side only decides where the zeros stand.
    options: dict[str, Any] = {"revision": revision, "dtype": dtype, "use_safetensors": True}
    if attn_implementation is not None:
        options["attn_implementation"] = attn_implementation
    if device_map is not None:
        options["device_map"] = device_map
    builder = AutoModelForImageTextToText if multimodal else AutoModelForCausalLM
    model = _load(builder, name_or_path, "weights", **options)
    return HFTarget(model if device is None else model.to(device), processor)


def _load(reader: Any, name: str, what: str, **options: Any) -> Any:
    """``reader.from_pretrained`` with errors cut down to one sentence."""
    try:
        return reader.from_pretrained(name, trust_remote_code=False, **options)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ValueError(f"cannot load the {what} of '{name}': {reason}") from error
