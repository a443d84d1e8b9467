"""A training pass of LlamaGen's transformer over whole pictures, quick on a CPU in bfloat16.

The same function as `GPT.loss_logits`. Queries are taken a piece at a time against the keys that
piece can see, which leaves out almost half of the scores; torch's fused attention for CPUs takes
twice as long at heads this narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from adapters.llamagen.conditioning import causal_mask
from adapters.llamagen.gpt import GPT, Attention, Block

_PIECE = 74


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass gives for each code: ``logits`` ``(rows, cells, vocab)`` and the streams.

    ``streams[i]`` is what leaves layer ``i``, ``(rows, cells, dim)``, at the position that
    predicts the code.
    """

    logits: Tensor
    streams: list[Tensor]


def training_pass(
    gpt: GPT, codes: Tensor, inputs: Mapping[str, Any], drop: Tensor | None = None
) -> Pass:
    """Run all codes of some pictures at once.

    Args:
        gpt: A transformer without dropout and with as many key heads as query heads.
        codes: ``(rows, cells)``.
        inputs: ``labels``, or ``caption`` and ``caption_mask``, left-padded.
        drop: ``(rows,)`` bool, rows whose condition is dropped.
    """
    condition, mask = gpt.embed_condition(inputs, drop), inputs.get("caption_mask")
    positions = gpt.config.cls_token_num
    lead = positions if mask is None else int(mask.sum(1).max())
    # Nobody looks at the padding that all rows share.
    condition = condition[:, positions - lead :]
    mask = condition.new_ones(1, lead, dtype=torch.bool) if mask is None else mask[:, -lead:]
    x = torch.cat([condition, gpt.tok_embeddings(codes[:, :-1])], dim=1)
    allowed = causal_mask(mask, x.shape[1])
    kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
    bias = torch.zeros(allowed.shape, dtype=kind).masked_fill_(~allowed, float("-inf"))
    factors = gpt.rotations()[positions - lead :][: x.shape[1]].unsqueeze(1)
    cosine, sine = factors.real.to(kind), factors.imag.to(kind)
    streams = []
    for layer in cast(Iterable[Block], gpt.layers):
        normed = layer.attention_norm(x)
        x = x + _attention(layer.attention, normed, cosine, sine, bias)
        x = x + layer.feed_forward(layer.ffn_norm(x))
        streams.append(x[:, lead - 1 :])
    return Pass(gpt.logits(gpt.norm(streams[-1])), streams)


def _attention(
    attention: Attention, x: Tensor, cosine: Tensor, sine: Tensor, bias: Tensor
) -> Tensor:
    rows, count, _ = x.shape
    heads = attention.wqkv(x).view(rows, count, 3, attention.heads, attention.head_dim)
    queries = _turn(heads[:, :, 0], cosine, sine).transpose(1, 2) * attention.head_dim**-0.5
    keys = _turn(heads[:, :, 1], cosine, sine).permute(0, 2, 3, 1)
    values = heads[:, :, 2].transpose(1, 2)
    pieces = []
    for start in range(0, count, _PIECE):
        stop = min(count, start + _PIECE)
        scores = queries[:, :, start:stop] @ keys[..., :stop] + bias[:, :, start:stop, :stop]
        pieces.append(scores.softmax(-1).to(values.dtype) @ values[:, :, :stop])
    return attention.wo(torch.cat(pieces, 2).transpose(1, 2).reshape(rows, count, -1))


def _turn(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)
