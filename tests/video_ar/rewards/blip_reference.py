"""ImageReward written out on its released weight names, without transformers' BLIP.

A ViT with pre-normalisation, and a BERT whose layers look at the picture between self-attention and
feed-forward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

VIEW: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 32,
    "patch_size": 8,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
}
TEXT: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 28,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
Sizes = Mapping[str, Any]
_HEAD = ((0, 1024), (2, 128), (4, 64), (6, 16), (7, 1))


def shapes(view: Sizes = VIEW, text: Sizes = TEXT, projection: int = 256) -> dict[str, list[int]]:
    """Every released name with its shape."""
    wide, deep, patch = (int(view[k]) for k in ("hidden_size", "num_hidden_layers", "patch_size"))
    places = (int(view["image_size"]) // patch) ** 2 + 1
    hidden, inner = int(view["intermediate_size"]), int(text["intermediate_size"])
    size = int(text["hidden_size"])
    eye, mouth = "blip.visual_encoder.", "blip.text_encoder."
    found: dict[str, list[int]] = {
        f"{eye}cls_token": [1, 1, wide],
        f"{eye}pos_embed": [1, places, wide],
        f"{eye}patch_embed.proj.weight": [wide, 3, patch, patch],
        f"{eye}patch_embed.proj.bias": [wide],
        **_pair(f"{eye}norm", wide),
        f"{mouth}embeddings.word_embeddings.weight": [int(text["vocab_size"]), size],
        f"{mouth}embeddings.position_embeddings.weight": [
            int(text["max_position_embeddings"]),
            size,
        ],
        f"{mouth}embeddings.position_ids": [1, int(text["max_position_embeddings"])],
        **_pair(f"{mouth}embeddings.LayerNorm", size),
        **_pair("blip.vision_proj", projection, wide),
        **_pair("blip.text_proj", projection, size),
    }
    for layer in range(deep):
        block = f"{eye}blocks.{layer}."
        found |= _pair(f"{block}norm1", wide) | _pair(f"{block}norm2", wide)
        found |= _pair(f"{block}attn.qkv", 3 * wide, wide) | _pair(f"{block}attn.proj", wide, wide)
        found |= _pair(f"{block}mlp.fc1", hidden, wide) | _pair(f"{block}mlp.fc2", wide, hidden)
    for layer in range(int(text["num_hidden_layers"])):
        block = f"{mouth}encoder.layer.{layer}."
        for kind, source in (("attention", size), ("crossattention", wide)):
            found |= _pair(f"{block}{kind}.self.query", size, size)
            found |= _pair(f"{block}{kind}.self.key", size, source)
            found |= _pair(f"{block}{kind}.self.value", size, source)
            found |= _pair(f"{block}{kind}.output.dense", size, size)
            found |= _pair(f"{block}{kind}.output.LayerNorm", size)
        found |= _pair(f"{block}intermediate.dense", inner, size)
        found |= _pair(f"{block}output.dense", size, inner)
        found |= _pair(f"{block}output.LayerNorm", size)
    width = size
    for place, out in _HEAD:
        found |= _pair(f"mlp.layers.{place}", out, width)
        width = out
    return found


def weights(seed: int = 0) -> dict[str, Tensor]:
    """Random ones of the tiny size."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes().items():
        if name.endswith("position_ids"):
            found[name] = torch.arange(shape[1])[None]
            continue
        spread = 1 / math.sqrt(shape[-1]) if len(shape) == 2 else 0.3
        found[name] = spread * torch.randn(shape, generator=generator)
    return found


def see(w: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
    """Tokens ``(F, places, width)`` of pictures."""
    lead, patch = "blip.visual_encoder.", int(VIEW["patch_size"])
    x = F.conv2d(pixels, *_of(w, f"{lead}patch_embed.proj"), stride=patch).flatten(2).mT
    x = torch.cat([w[f"{lead}cls_token"].expand(len(x), -1, -1), x], 1) + w[f"{lead}pos_embed"]
    for layer in range(2):
        at = f"{lead}blocks.{layer}."
        q, k, v = F.linear(_norm(w, f"{at}norm1", x, 1e-6), *_of(w, f"{at}attn.qkv")).chunk(3, -1)
        x = x + F.linear(_attend(q, k, v, 3), *_of(w, f"{at}attn.proj"))
        hidden = F.linear(_norm(w, f"{at}norm2", x, 1e-6), *_of(w, f"{at}mlp.fc1"))
        x = x + F.linear(F.gelu(hidden), *_of(w, f"{at}mlp.fc2"))
    return _norm(w, f"{lead}norm", x, 1e-6)


def read(w: Mapping[str, Tensor], ids: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
    """Hidden states ``(F, L, width)`` of texts that look at pictures."""
    lead = "blip.text_encoder."
    words = w[f"{lead}embeddings.word_embeddings.weight"][ids]
    places = w[f"{lead}embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = _norm(w, f"{lead}embeddings.LayerNorm", words + places, 1e-12)
    for layer in range(2):
        at = f"{lead}encoder.layer.{layer}."
        x = _looked(w, f"{at}attention.", x, x, mask)
        x = _looked(w, f"{at}crossattention.", x, seen, None)
        hidden = F.gelu(F.linear(x, *_of(w, f"{at}intermediate.dense")))
        out = F.linear(hidden, *_of(w, f"{at}output.dense"))
        x = _norm(w, f"{at}output.LayerNorm", out + x, 1e-12)
    return x


def reward(w: Mapping[str, Tensor], pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Scores ``(F,)``; the head in one matrix, as it has no nonlinearity."""
    first = read(w, ids, mask, see(w, pixels))[:, 0].double()
    matrix, offset = torch.eye(first.shape[1]).double(), torch.zeros(first.shape[1]).double()
    for place, _ in _HEAD:
        weight, bias = (part.double() for part in _of(w, f"mlp.layers.{place}"))
        matrix, offset = weight @ matrix, weight @ offset + bias
    raw = first @ matrix[0] + offset
    return (raw - 0.16717362830052426) / 1.0333394966054072


def _pair(name: str, *shape: int) -> dict[str, list[int]]:
    return {f"{name}.weight": list(shape), f"{name}.bias": [shape[0]]}


def _of(w: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return w[f"{name}.weight"], w[f"{name}.bias"]


def _norm(w: Mapping[str, Tensor], name: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *_of(w, name), eps)


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    logits = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        logits = logits.masked_fill(mask[:, None, None] == 0, -math.inf)
    return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


def _looked(
    w: Mapping[str, Tensor], at: str, x: Tensor, source: Tensor, mask: Tensor | None
) -> Tensor:
    q = F.linear(x, *_of(w, f"{at}self.query"))
    k, v = (F.linear(source, *_of(w, f"{at}self.{part}")) for part in ("key", "value"))
    out = F.linear(_attend(q, k, v, 4, mask), *_of(w, f"{at}output.dense"))
    return _norm(w, f"{at}output.LayerNorm", out + x, 1e-12)
