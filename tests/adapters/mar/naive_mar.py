"""The networks written down once more from their named weights, one picture at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adapters.mar.config import MARConfig

Weights = Mapping[str, Tensor]


def doubles(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.double() for name, value in model.state_dict().items()}


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return torch.einsum("oi,...i->...o", w[name + ".weight"], x) + w[name + ".bias"]


def normed(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-6)


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return normed(x) * w[name + ".weight"] + w[name + ".bias"]


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def block(w: Weights, name: str, x: Tensor, heads: int, causal: bool) -> Tensor:
    """``x`` ``(n, width)``."""
    count, width = x.shape
    size = width // heads
    fused = linear(w, name + ".attn.qkv", norm(w, name + ".norm1", x))
    parts = []
    for head in range(heads):
        query, key, value = (
            fused[:, part * width + head * size : part * width + (head + 1) * size]
            for part in range(3)
        )
        scores = torch.einsum("id,jd->ij", query, key) / math.sqrt(size)
        if causal:
            scores[torch.ones(count, count).triu(1).bool()] = -math.inf
        parts.append(scores.exp() / scores.exp().sum(-1, keepdim=True) @ value)
    x = x + linear(w, name + ".attn.proj", torch.cat(parts, -1))
    y = linear(w, name + ".mlp.fc1", norm(w, name + ".norm2", x))
    return x + linear(w, name + ".mlp.fc2", y * 0.5 * (1 + torch.erf(y / math.sqrt(2))))


def masked_conditions(
    w: Weights, c: MARConfig, tokens: Tensor, unknown: list[bool], label: int | None
) -> Tensor:
    """``(cells, W')`` of one picture; unknown tokens are left out of the encoder."""
    vector = w["fake_latent"][0] if label is None else w["class_emb.weight"][label]
    embeds = [vector] * c.buffer + [linear(w, "z_proj", token.double()) for token in tokens]
    kept = list(range(c.buffer)) + [c.buffer + i for i in range(c.cells) if not unknown[i]]
    x = torch.stack([embeds[i] + w["encoder_pos_embed_learned"][0, i] for i in kept])
    x = norm(w, "z_proj_ln", x)
    for layer in range(c.encoder_depth):
        x = block(w, f"encoder_blocks.{layer}", x, c.encoder_heads, causal=False)
    x = linear(w, "decoder_embed", norm(w, "encoder_norm", x))
    full = [w["mask_token"][0, 0]] * (c.buffer + c.cells)
    for row, place in zip(x, kept, strict=True):
        full[place] = row
    x = torch.stack(full) + w["decoder_pos_embed_learned"][0]
    for layer in range(c.decoder_depth):
        x = block(w, f"decoder_blocks.{layer}", x, c.decoder_heads, causal=False)
    x = norm(w, "decoder_norm", x)[c.buffer :]
    return x + w["diffusion_pos_embed_learned"][0]


def causal_conditions(w: Weights, c: MARConfig, tokens: Tensor, label: int | None) -> Tensor:
    """``(len(tokens) + 1, W)``: for every given token and the one after."""
    vector = w["fake_latent"][0] if label is None else w["class_emb.weight"][label]
    embeds = [vector] * c.buffer + [linear(w, "z_proj", token.double()) for token in tokens]
    x = torch.stack(embeds) + w["decoder_pos_embed_learned"][0, : len(embeds)]
    x = norm(w, "z_proj_ln", x)
    for layer in range(c.decoder_depth):
        x = block(w, f"decoder_blocks.{layer}", x, c.decoder_heads, causal=True)
    x = norm(w, "decoder_norm", x)[c.buffer - 1 :]
    return x + w["diffusion_pos_embed_learned"][0, : len(x)]


def head_outputs(w: Weights, state: Tensor, timestep: int, vector: Tensor) -> tuple[Tensor, Tensor]:
    """Noise and variance logits of one row; names without the ``diffloss.net`` in front."""
    angles = [timestep * 10000 ** (-i / 128) for i in range(128)]
    waves = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
    time = linear(w, "time_embed.mlp.0", torch.tensor(waves, dtype=torch.float64))
    y = linear(w, "time_embed.mlp.2", silu(time)) + linear(w, "cond_embed", vector.double())
    x = linear(w, "input_proj", state.double())
    index = 0
    while f"res_blocks.{index}.in_ln.weight" in w:
        name = f"res_blocks.{index}"
        shift, scale, gate = linear(w, name + ".adaLN_modulation.1", silu(y)).chunk(3)
        inner = norm(w, name + ".in_ln", x) * (1 + scale) + shift
        x = x + gate * linear(w, name + ".mlp.2", silu(linear(w, name + ".mlp.0", inner)))
        index += 1
    shift, scale = linear(w, "final_layer.adaLN_modulation.1", silu(y)).chunk(2)
    noise, logits = linear(w, "final_layer.linear", normed(x) * (1 + scale) + shift).chunk(2)
    return noise, logits
