"""HPSv2 (Wu et al., arXiv 2306.09341): its released open_clip weights in transformers' CLIP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from video_ar.rewards.clip import CLIP_H, ClipScorer
from video_ar.rewards.weight_files import fill, load_pretrained, read_weights

# The scale of the published tables.
HPSV2_SCALE = 100.0
VIT_H_14: dict[str, Any] = {
    "projection_dim": 1024,
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
    },
    "text_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
        "hidden_act": "gelu",
    },
}
_PLACES = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    **{f"visual.ln_pre.{part}": f"vision_model.pre_layrnorm.{part}" for part in ("weight", "bias")},
    **{
        f"visual.ln_post.{part}": f"vision_model.post_layernorm.{part}"
        for part in ("weight", "bias")
    },
    **{f"ln_final.{part}": f"text_model.final_layer_norm.{part}" for part in ("weight", "bias")},
}
_PROJECTIONS = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
_INSIDE = {
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "attn.out_proj.": "self_attn.out_proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_BLOCK = re.compile(r"^(visual\.)?transformer\.resblocks\.(\d+)\.(.+)$")


def hosted_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip weights under the names of transformers; unknown names stay as they are."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        inside = _BLOCK.match(name)
        if inside:
            tower = "vision_model." if inside[1] else "text_model."
            found |= _block(f"{tower}encoder.layers.{inside[2]}.", inside[3], name, value)
        elif name in _PROJECTIONS:
            found[_PROJECTIONS[name]] = value.T.contiguous()
        else:
            found[_PLACES.get(name, name)] = value
    return found


def load_hpsv2(
    path: str | Path,
    tokenizer: Any = CLIP_H,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    config: dict[str, Any] | None = None,
) -> ClipScorer:
    """100 times the cosine, of whole frames with black bars, as released.

    Args:
        path: ``HPS_v2_compressed.pt`` or ``HPS_v2.1_compressed.pt``; pickles are read only as far
            as they hold plain tensors.
        tokenizer: Of CLIP, or its folder or name.
        device: Where to score.
        dtype: Of both towers.
        config: Sizes, those of ViT-H/14 by default.

    Raises:
        ValueError: Weights that are missing or do not fit, or no tokenizer.
    """
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    weights = hosted_names(read_weights(path, "HPSv2"))
    with torch.device("meta"):
        model = CLIPModel(CLIPConfig(**(config or VIT_H_14)))
    fill(model, weights, str(path))
    if isinstance(tokenizer, str | Path):
        tokenizer = load_pretrained(AutoTokenizer, tokenizer, "HPSv2")
    name = f"hpsv2:{Path(path).stem}"
    return ClipScorer(model.to(device, dtype), tokenizer, name, HPSV2_SCALE, "pad")


def _block(lead: str, inside: str, name: str, value: Tensor) -> dict[str, Tensor]:
    """A weight of a block; queries, keys and values are stored as one there and apart here."""
    if inside.startswith("attn.in_proj_"):
        part = inside.removeprefix("attn.in_proj_")
        thirds = zip("qkv", value.chunk(3), strict=True)
        return {f"{lead}self_attn.{which}_proj.{part}": third for which, third in thirds}
    for theirs, ours in _INSIDE.items():
        if inside.startswith(theirs):
            return {f"{lead}{ours}{inside.removeprefix(theirs)}": value}
    return {name: value}
