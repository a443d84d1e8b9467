"""The transformer written down once more, one position and one head at a time, in float64."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from adapters.llamagen.config import CLASSES
from adapters.llamagen.gpt import GPT


def naive_logits(model: GPT, codes: list[int], inputs: dict[str, Any], row: int) -> Tensor:
    """``(len(codes) + 1, vocab)`` logits of one row, its condition kept."""
    w = {name: value.double() for name, value in model.state_dict().items()}
    c = model.config
    if c.model_type == CLASSES:
        stream = [w["cls_embedding.embedding_table.weight"][inputs["labels"][row]]]
        pad = [True]
    else:
        one, two = (w[f"cls_embedding.cap_proj.fc{n}.weight"] for n in (1, 2))
        stream = [two @ gelu(one @ x.double()) for x in inputs["caption"][row]]
        pad = inputs["caption_mask"][row].tolist()
    stream += [w["tok_embeddings.weight"][code] for code in codes]
    lead = len(pad)
    for layer in range(c.n_layer):
        part = {
            name.removeprefix(f"layers.{layer}."): value
            for name, value in w.items()
            if name.startswith(f"layers.{layer}.")
        }
        heads = [
            part["attention.wqkv.weight"] @ norm(x, part["attention_norm.weight"]) for x in stream
        ]
        for place, x in enumerate(list(stream)):
            mixed = []
            for head in range(c.n_head):
                cut = slice(head * c.head_dim, (head + 1) * c.head_dim)
                query = turn(heads[place][: c.dim][cut], place - lead, c.grid)
                seen = [
                    other
                    for other in range(place + 1)
                    if other == place or other >= lead or pad[other]
                ]
                scores = torch.stack(
                    [
                        query
                        @ turn(heads[other][c.dim : 2 * c.dim][cut], other - lead, c.grid)
                        / math.sqrt(c.head_dim)
                        for other in seen
                    ]
                ).softmax(0)
                values = torch.stack([heads[other][2 * c.dim :][cut] for other in seen])
                mixed.append(scores @ values)
            x = x + part["attention.wo.weight"] @ torch.cat(mixed)
            y = norm(x, part["ffn_norm.weight"])
            gate = part["feed_forward.w1.weight"] @ y
            inner = gate * torch.sigmoid(gate) * (part["feed_forward.w3.weight"] @ y)
            stream[place] = x + part["feed_forward.w2.weight"] @ inner
    last = [norm(x, w["norm.weight"]) for x in stream[lead - 1 :]]
    return torch.stack([w["output.weight"] @ x for x in last])


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean() + 1e-5) * weight


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def turn(x: Tensor, cell: int, grid: int) -> Tensor:
    """Rows turn the first half of the pairs, columns the second; conditions vanish."""
    if cell < 0:
        return torch.zeros_like(x)
    out, pairs = torch.empty_like(x), len(x) // 2
    for pair in range(pairs):
        at = cell // grid if pair < pairs // 2 else cell % grid
        angle = at * 10000 ** (-2 * (pair % (pairs // 2)) / pairs)
        a, b = x[2 * pair], x[2 * pair + 1]
        out[2 * pair] = a * math.cos(angle) - b * math.sin(angle)
        out[2 * pair + 1] = b * math.cos(angle) + a * math.sin(angle)
    return out
