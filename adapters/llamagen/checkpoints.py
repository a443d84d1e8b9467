"""Transformer weights on disk: official files, a Llama-style export, folders of ours.

Official files come as ``{"model": ...}``, ``{"module": ...}``, ``{"state_dict": ...}`` or bare. The
export of LANTERN's authors has the key style of transformers' Llama with queries, keys and values
apart; its rotation is LlamaGen's, so that putting the names back is all there is to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from adapters.llamagen.config import CLASSES, SIZES, TEXT, GPTConfig
from adapters.llamagen.gpt import GPT
from mmspec.weight_files import differences, read_file

CONFIG, WEIGHTS = "config.json", "model.safetensors"
ARCHITECTURE = "LlamaGenGPT"
_CONTAINERS = ("model", "module", "state_dict")
_BUFFERS = re.compile(r"(^|\.)(freqs_cis|causal_mask|mask|rotary_emb\.inv_freq|kv_cache\.\w+)$")
_FROM_LLAMA = {
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attention_norm",
    "embed_tokens": "tok_embeddings",
    "lm_head": "output",
}


def save_gpt(model: GPT, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors``, official names, into a folder.

    Args:
        model: Not changed.
        folder: Made if needed.
        dtype: Number format on disk, that of the model by default.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = dtype or model.dtype
    weights = {
        name: value.detach().to("cpu", dtype).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "architectures": [ARCHITECTURE],
        **model.config.to_dict(),
        "dtype": str(dtype).removeprefix("torch."),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_gpt(
    path: str | Path,
    *,
    grid: int | None = None,
    n_head: int | None = None,
) -> GPT:
    """Read a transformer, ready for inference on the CPU in the stored number format.

    Args:
        path: A folder of ours, an official ``.pt`` file, a ``.safetensors`` file, or a folder or
            file of the Llama-style export.
        grid: Rows and columns of image tokens; needed where nothing beside the weights says it.
        n_head: Heads; needed for sizes that are not released ones and have no ``config.json``.

    Raises:
        ValueError: Files that cannot be read safely, or weights that do not fit; one error names
            every missing, unexpected and ill-shaped weight.
    """
    path = Path(path)
    said = _config_beside(path)
    if said.get("architectures") == [ARCHITECTURE]:
        known = {key: value for key, value in said.items() if key not in ("architectures", "dtype")}
        config = GPTConfig.from_dict(known)
        if grid is not None and grid != config.grid:
            raise ValueError(
                f"{path} writes a grid of {config.grid} x {config.grid}, not {grid} x {grid}; "
                "leave grid and image_size out"
            )
        return build_gpt(read_weights(path), config, str(path))
    weights = read_weights(path)
    config = infer_config(weights, said, grid=grid, n_head=n_head, source=str(path))
    return build_gpt(weights, config, str(path))


def build_gpt(weights: Mapping[str, Tensor], config: GPTConfig, source: str = "weights") -> GPT:
    """A transformer from weights under official names; they are taken over, not copied.

    Raises:
        ValueError: The weights do not fit the config; every difference is named.
    """
    with torch.device("meta"):
        model = GPT(config)
    expected = model.state_dict()
    if problems := differences(expected, weights, "unexpected"):
        raise ValueError(f"{source} does not fit this model: {'; '.join(problems)}")
    model.load_state_dict(dict(weights), assign=True)
    return model.requires_grad_(False).eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights under official names, on the CPU; buffers that can be computed are left out.

    Pickles are read only as far as they hold plain tensors.

    Raises:
        ValueError: A file that is missing, broken or holds no named tensors.
    """
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no .safetensors file; give the file of the weights")
    found: dict[str, Any] = {}
    for file in files:
        found.update(read_file(file, _CONTAINERS))
    weights = {name: value for name, value in found.items() if not _BUFFERS.search(name)}
    strange = sorted(name for name, value in weights.items() if not isinstance(value, Tensor))
    if strange or not weights:
        raise ValueError(f"{path} holds no named tensors, but {strange or 'nothing'}")
    return _official(weights)


def infer_config(
    weights: Mapping[str, Tensor],
    said: Mapping[str, Any] | None = None,
    *,
    grid: int | None = None,
    n_head: int | None = None,
    source: str = "weights",
) -> GPTConfig:
    """Sizes, as far as weights tell them; the rest from the arguments or a Llama-style config.

    Args:
        weights: Under official names.
        said: A ``config.json`` beside them.
        grid: Rows and columns of image tokens.
        n_head: Heads.
        source: What to call the weights in errors.

    Raises:
        ValueError: Something is neither in the weights nor given.
    """
    said = said or {}
    try:
        vocab, dim = weights["tok_embeddings.weight"].shape
        width = weights["layers.0.feed_forward.w1.weight"].shape[0]
        fused = weights["layers.0.attention.wqkv.weight"].shape[0]
    except KeyError as error:
        raise ValueError(
            f"{source} is no LlamaGen transformer: it has no {error}, but {_some(weights)}"
        ) from error
    depth = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
    heads = n_head or said.get("num_attention_heads") or said.get("n_head") or _heads(dim, depth)
    if heads is None:
        raise ValueError(
            f"{source} has {depth} layers of width {dim}, which is no released size; give n_head"
        )
    cells = grid * grid if grid is not None else said.get("block_size")
    if cells is None:
        raise ValueError(
            f"{source} does not say how many tokens its pictures have; give grid (16 for 256 "
            "pixels, 24 for 384, 32 for 512) or image_size"
        )
    if said.get("block_size") not in (None, cells):
        raise ValueError(
            f"{source} writes {said['block_size']} tokens and grid={grid} asks for {cells}; leave "
            "grid and image_size out"
        )
    config = GPTConfig(
        dim=dim,
        n_layer=depth,
        n_head=heads,
        n_kv_head=(fused - dim) // (2 * (dim // heads)),
        norm_eps=said.get("rms_norm_eps", 1e-5),
        rope_base=said.get("rope_base", 10000.0),
        vocab_size=vocab,
        block_size=cells,
        **_condition(weights, source),
    )
    return replace(config, multiple_of=_multiple(config, width, source))


def _condition(weights: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """The fields that tell classes from texts."""
    classes = weights.get("cls_embedding.embedding_table.weight")
    text = weights.get("cls_embedding.uncond_embedding")
    if classes is not None and text is None:
        return {"model_type": CLASSES, "num_classes": classes.shape[0] - 1}
    if text is not None and classes is None:
        length, width = text.shape
        return {"model_type": TEXT, "cls_token_num": length, "caption_dim": width}
    raise ValueError(
        f"{source} needs either cls_embedding.embedding_table (classes) or "
        "cls_embedding.uncond_embedding (texts)"
    )


def _multiple(config: GPTConfig, width: int, source: str) -> int:
    """The rounding that gives the feed-forward its width."""
    for multiple in (256, 128, 64, 32, 16, 8, 4, 2, 1):
        if replace(config, multiple_of=multiple).ffn_width == width:
            return multiple
    # Made with a multiplier, which cannot be told from the width: rounding to the width gives it.
    if width >= replace(config, multiple_of=1).ffn_width:
        return width
    raise ValueError(f"{source} has a feed-forward of {width}, too narrow for width {config.dim}")


def _heads(dim: int, depth: int) -> int | None:
    """Heads of the released size of this width and depth."""
    for size in SIZES.values():
        if (size["dim"], size["n_layer"]) == (dim, depth):
            return size["n_head"]
    return None


def _official(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the Llama-style export under official names; others as they are."""
    if not any(".self_attn." in name for name in weights):
        return weights
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        name = name.removeprefix("model.")
        for theirs, ours in _FROM_LLAMA.items():
            name = name.replace(theirs, ours)
        renamed[name] = value
    for name in [name for name in renamed if name.endswith("self_attn.q_proj.weight")]:
        parts = [name.replace("q_proj", part) for part in ("q_proj", "k_proj", "v_proj")]
        if all(part in renamed for part in parts):
            fused = torch.cat([renamed.pop(part) for part in parts])
            renamed[name.replace("self_attn.q_proj", "attention.wqkv")] = fused
    return renamed


def _config_beside(path: Path) -> dict[str, Any]:
    """The ``config.json`` in a folder, or beside a safetensors file; empty where there is none."""
    file = (path if path.is_dir() else path.parent) / CONFIG
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _some(weights: Mapping[str, Any]) -> str:
    names = sorted(weights)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
