"""CLIP written out on open_clip's weight names, without transformers' CLIP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CONFIG: dict[str, Any] = {
    "projection_dim": 10,
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 32,
        "patch_size": 8,
        "hidden_act": "gelu",
    },
    "text_config": {
        "hidden_size": 16,
        "intermediate_size": 28,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 12,
        "vocab_size": 20,
        "hidden_act": "gelu",
        "bos_token_id": 18,
        "eos_token_id": 19,
    },
}


def shapes(config: Mapping[str, Any] = CONFIG) -> dict[str, list[int]]:
    """Every released name with its shape."""
    view, text, joint = config["vision_config"], config["text_config"], config["projection_dim"]
    wide, size, patch = view["hidden_size"], text["hidden_size"], view["patch_size"]
    found: dict[str, list[int]] = {
        "positional_embedding": [text["max_position_embeddings"], size],
        "text_projection": [size, joint],
        "logit_scale": [],
        "token_embedding.weight": [text["vocab_size"], size],
        **_pair("ln_final", size),
        "visual.class_embedding": [wide],
        "visual.positional_embedding": [(view["image_size"] // patch) ** 2 + 1, wide],
        "visual.proj": [wide, joint],
        "visual.conv1.weight": [wide, 3, patch, patch],
        **_pair("visual.ln_pre", wide),
        **_pair("visual.ln_post", wide),
    }
    for lead, tower in (("visual.", view), ("", text)):
        width, hidden = tower["hidden_size"], tower["intermediate_size"]
        for layer in range(tower["num_hidden_layers"]):
            at = f"{lead}transformer.resblocks.{layer}."
            found |= _pair(f"{at}ln_1", width) | _pair(f"{at}ln_2", width)
            found[f"{at}attn.in_proj_weight"] = [3 * width, width]
            found[f"{at}attn.in_proj_bias"] = [3 * width]
            found |= _pair(f"{at}attn.out_proj", width, width)
            found |= _pair(f"{at}mlp.c_fc", hidden, width)
            found |= _pair(f"{at}mlp.c_proj", width, hidden)
    return found


def weights(seed: int = 0) -> dict[str, Tensor]:
    """Random ones of the tiny size."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (1 / math.sqrt(shape[-1]) if len(shape) == 2 else 0.3)
        * torch.randn(shape, generator=generator)
        for name, shape in shapes().items()
    }


def cosine(w: Mapping[str, Tensor], pixels: Tensor, ids: Tensor) -> Tensor:
    """``(F,)`` of pictures and one text ``(1, L)``."""
    x = F.conv2d(pixels, w["visual.conv1.weight"], stride=8).flatten(2).mT
    x = torch.cat([w["visual.class_embedding"].expand(len(x), 1, -1), x], 1)
    x = _norm(w, "visual.ln_pre", x + w["visual.positional_embedding"])
    x = _norm(w, "visual.ln_post", _blocks(w, "visual.", x, 3, None)[:, 0]) @ w["visual.proj"]
    y = w["token_embedding.weight"][ids] + w["positional_embedding"][: ids.shape[1]]
    later = torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool()
    y = _norm(w, "ln_final", _blocks(w, "", y, 4, later))
    y = y[torch.arange(len(y)), ids.argmax(-1)] @ w["text_projection"]
    return F.cosine_similarity(x, y)


def _blocks(
    w: Mapping[str, Tensor], lead: str, x: Tensor, heads: int, later: Tensor | None
) -> Tensor:
    for layer in range(2):
        at = f"{lead}transformer.resblocks.{layer}."
        matrix, bias = w[f"{at}attn.in_proj_weight"], w[f"{at}attn.in_proj_bias"]
        parts = F.linear(_norm(w, f"{at}ln_1", x), matrix, bias).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
        logits = q @ k.mT / math.sqrt(q.shape[-1])
        if later is not None:
            logits = logits.masked_fill(later, -math.inf)
        out = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + F.linear(out, *_of(w, f"{at}attn.out_proj"))
        hidden = F.gelu(F.linear(_norm(w, f"{at}ln_2", x), *_of(w, f"{at}mlp.c_fc")))
        x = x + F.linear(hidden, *_of(w, f"{at}mlp.c_proj"))
    return x


def _pair(name: str, *shape: int) -> dict[str, list[int]]:
    return {f"{name}.weight": list(shape), f"{name}.bias": [shape[0]]}


def _of(w: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return w[f"{name}.weight"], w[f"{name}.bias"]


def _norm(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *_of(w, name), 1e-5)
