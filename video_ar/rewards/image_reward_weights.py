"""Sizes of ImageReward, and its released weight names in transformers' BLIP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

# ViT-L/16 at 224 and BERT-base with cross-attention; what is not said is transformers' default.
BLIP_LARGE: dict[str, dict[str, Any]] = {
    "vision": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 16,
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
    },
    "text": {
        "vocab_size": 30524,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 512,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    },
}

# Can be computed, and transformers does.
_COMPUTED = "blip.text_encoder.embeddings.position_ids"
_RENAMED = tuple(
    (re.compile(rf"^blip\.visual_encoder\.{theirs}"), rf"blip.vision_model.{ours}")
    for theirs, ours in (
        (r"cls_token$", "embeddings.class_embedding"),
        (r"pos_embed$", "embeddings.position_embedding"),
        (r"patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"blocks\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
        (r"blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
        (r"blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
        (r"blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
        (r"norm\.", "post_layernorm."),
    )
)


def hosted_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released weights under the names of transformers; unknown names stay as they are."""
    return {_hosted(name): value for name, value in weights.items() if name != _COMPUTED}


def _hosted(name: str) -> str:
    for theirs, ours in _RENAMED:
        if theirs.match(name):
            return theirs.sub(ours, name)
    return name
