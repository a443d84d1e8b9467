"""Wan weights on disk: diffusers folders, original folders, and files of training programs."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AnyFlowFARTransformer3DModel, AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from adapters.wan import vae_names
from adapters.wan.names import bare, is_original, to_diffusers
from mmspec.weight_files import differences, read_file

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
HEAD_DIM = 128  # of every released size
_AVERAGED, _RAW = "generator_ema", "generator"
_CONTAINERS = ("state_dict", "model", "module")
_PICTURE = ("img_emb", "k_img", "condition_embedder.image_embedder", "add_k_proj")


def load_wan(
    path: str | Path,
    *,
    heads: int | None = None,
    averaged: bool = True,
    dtype: torch.dtype | None = None,
) -> Any:
    """Read a transformer, ready for inference on the CPU.

    Args:
        path: A diffusers folder (of the transformer, or of a pipeline that has one), a folder with
            the original ``config.json``, or one file: Wan's own, Self-Forcing's, CausVid's, Krea's.
        heads: Attention heads, where neither a config nor heads 128 wide tell them.
        averaged: Which weights to take from a training file that holds both: ``generator_ema``, or
            ``generator``. Where there is one, it is taken.
        dtype: Number format, that of the file by default. Norms and the time embedding stay in
            float32, as diffusers keeps them.

    Returns:
        A ``WanTransformer3DModel``.

    Raises:
        ValueError: Files that cannot be read safely, a model that also looks at pictures, or
            weights that do not fit; one error names every missing, unexpected and ill-shaped one.
    """
    path = Path(path)
    if (path / "transformer").is_dir():
        path = path / "transformer"
    said = _config_beside(path)
    weights = _read(path, averaged)
    if pictures := sorted(name for name in weights if any(part in name for part in _PICTURE)):
        raise ValueError(
            f"{path} looks at a picture beside the text ({pictures[0]}); use a text-to-video model"
        )
    if is_original(weights):
        config = infer_config(weights, said, heads=heads, source=str(path))
        weights = to_diffusers(weights)
    elif said.get("_class_name") == "WanTransformer3DModel":
        config = said
    else:
        raise ValueError(
            f"{path} holds no Wan transformer: neither original names, nor a {CONFIG} of a "
            f"WanTransformer3DModel beside them; it has {', '.join(sorted(weights)[:3])}"
        )
    return build_wan(weights, config, str(path), dtype)


def is_far(path: str | Path) -> bool:
    """Whether a diffusers folder, of a transformer or of its pipeline, holds an AnyFlow-FAR."""
    path = Path(path)
    path = path / "transformer" if (path / "transformer").is_dir() else path
    return _config_beside(path).get("_class_name") == AnyFlowFARTransformer3DModel.__name__


def load_far(path: str | Path, dtype: torch.dtype | None = None) -> Any:
    """Read an ``AnyFlowFARTransformer3DModel``.

    Args:
        path: A diffusers folder, of the transformer or of its pipeline.
        dtype: As for :func:`load_wan`.

    Raises:
        ValueError: As :func:`load_wan`.
    """
    path = Path(path)
    path = path / "transformer" if (path / "transformer").is_dir() else path
    config = _config_beside(path)
    model = _build(AnyFlowFARTransformer3DModel, _read(path, True), config, str(path), dtype)
    # Told by the config and not stored with the weights.
    gate = torch.tensor([model.config.gate_value], dtype=torch.float32)
    model.condition_embedder.register_buffer("delta_emb_gate", gate, persistent=False)
    return model


def load_vae(path: str | Path, dtype: torch.dtype | None = None) -> Any:
    """Read an ``AutoencoderKLWan``.

    Args:
        path: A diffusers folder, its own or that of a pipeline; or Wan 2.1's original file, or a
            folder that has it.
        dtype: Number format, that of the file by default.

    Raises:
        ValueError: As :func:`load_wan`.
    """
    path = Path(path)
    path = path / "vae" if (path / "vae").is_dir() else path
    path = path / vae_names.FILE if (path / vae_names.FILE).is_file() else path
    weights = _read(path, True)
    if vae_names.is_original_vae(weights):
        config = vae_names.vae_config(weights, str(path))
        weights = vae_names.vae_to_diffusers(weights)
    else:
        config = _config_beside(path)
    return _build(AutoencoderKLWan, weights, config, str(path), dtype)


def save_folder(model: Any, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a transformer or an autoencoder as a diffusers folder.

    Args:
        model: Not changed.
        folder: Made if needed.
        dtype: Number format on disk, that of the model by default.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.detach().to("cpu", dtype or value.dtype).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    model.save_config(folder)


def build_wan(
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    source: str = "weights",
    dtype: torch.dtype | None = None,
) -> Any:
    """A transformer from weights under diffusers' names; they are taken over, not copied.

    Raises:
        ValueError: The weights do not fit the config; every difference is named.
    """
    model = _build(WanTransformer3DModel, weights, config, source, dtype)
    # The rotation's tables are not stored with the weights.
    settings = model.config
    rope = type(model.rope)(
        settings.attention_head_dim, settings.patch_size, settings.rope_max_seq_len
    )
    model.rope = rope
    return model


def infer_config(
    weights: Mapping[str, Tensor],
    said: Mapping[str, Any] | None = None,
    *,
    heads: int | None = None,
    source: str = "weights",
) -> dict[str, Any]:
    """The diffusers config that bare original names and shapes tell.

    Args:
        weights: Under original names.
        said: The original ``config.json`` beside them.
        heads: Attention heads.
        source: What to call the weights in errors.

    Raises:
        ValueError: Weights that tell the sizes are missing, or the heads are not known.
    """
    said = said or {}
    try:
        dim, channels, *patch = weights["patch_embedding.weight"].shape
        shapes = {
            "text_dim": weights["text_embedding.0.weight"].shape[1],
            "freq_dim": weights["time_embedding.0.weight"].shape[1],
            "ffn_dim": weights["blocks.0.ffn.0.weight"].shape[0],
            "out_channels": weights["head.head.weight"].shape[0] // math.prod(patch),
        }
    except KeyError as error:
        raise ValueError(f"{source} is no whole Wan transformer: it has no {error}") from error
    heads = heads or said.get("num_heads") or (dim // HEAD_DIM if dim % HEAD_DIM == 0 else None)
    if heads is None or dim % heads:
        raise ValueError(
            f"{source} is {dim} wide, which {heads or 'no number of'} heads of the released models "
            "make; give heads"
        )
    return {
        **shapes,
        "patch_size": tuple(patch),
        "num_attention_heads": heads,
        "attention_head_dim": dim // heads,
        "in_channels": channels,
        "num_layers": len({name.split(".")[1] for name in weights if name.startswith("blocks.")}),
        "cross_attn_norm": "blocks.0.norm3.weight" in weights,
        "eps": said.get("eps", 1e-6),
    }


def _build(
    kind: Any,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    source: str,
    dtype: torch.dtype | None,
) -> Any:
    """A diffusers model of a config, with exactly these weights."""
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    if unknown := sorted(settings.keys() - inspect.signature(kind).parameters.keys()):
        raise ValueError(f"{source} has settings that this diffusers does not know: {unknown}")
    with torch.device("meta"):
        model = kind(**settings)
    if problems := differences(model.state_dict(), weights, "unexpected"):
        raise ValueError(f"{source} does not fit this model: {'; '.join(problems)}")
    if dtype is not None:
        weights = _converted(weights, dtype, model._keep_in_fp32_modules or ())
    model.load_state_dict(dict(weights), assign=True)
    return model.requires_grad_(False).eval()


def _converted(
    weights: Mapping[str, Tensor], dtype: torch.dtype, kept: tuple[str, ...] | list[str]
) -> dict[str, Tensor]:
    """Weights in another format, save those that diffusers keeps in float32."""
    return {
        name: value.to(torch.float32 if set(name.split(".")) & set(kept) else dtype)
        for name, value in weights.items()
    }


def _read(path: Path, averaged: bool) -> dict[str, Tensor]:
    """Weights under bare names, on the CPU; pickles only as far as they hold plain tensors."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no .safetensors file; give the file of the weights")
    generators = (_AVERAGED, _RAW) if averaged else (_RAW, _AVERAGED)
    found: dict[str, Any] = {}
    for file in files:
        found.update(read_file(file, (*generators, *_CONTAINERS)))
    strange = sorted(name for name, value in found.items() if not isinstance(value, Tensor))
    if strange or not found:
        raise ValueError(f"{path} holds no named tensors, but {strange or 'nothing'}")
    return bare(found)


def _config_beside(path: Path) -> dict[str, Any]:
    """The ``config.json`` of a folder or beside a file; empty where there is none."""
    file = (path if path.is_dir() else path.parent) / CONFIG
    if not file.is_file():
        return {}
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise ValueError(f"{file} holds no settings, but {type(said).__name__}")
    return said
