"""Learned queries that look at a run of visual tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def new_queries(count: int, hidden: int, heads: int) -> nn.Parameter:
    """``(count, heads, hidden / heads)`` without values yet.

    Raises:
        ValueError: There are none, or the heads do not divide the width.
    """
    if count < 1 or hidden % heads:
        raise ValueError(
            f"{count} queries of {heads} heads on a hidden size of {hidden}: at least one query is "
            "needed, and the heads must divide the hidden size"
        )
    return nn.Parameter(torch.empty(count, heads, hidden // heads))


def cross_attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Multi-head attention of the same queries on every run, without order among its tokens.

    Args:
        queries: ``(count, heads, head_dim)``.
        keys: ``(runs, tokens, hidden)``.
        values: ``(runs, tokens, hidden)``.

    Returns:
        ``(runs, count, hidden)``.
    """
    heads = queries.shape[1:]
    keys, values = (part.unflatten(-1, heads).transpose(1, 2) for part in (keys, values))
    asking = queries.transpose(0, 1).expand(len(keys), -1, -1, -1)  # (runs, heads, count, head_dim)
    return F.scaled_dot_product_attention(asking, keys, values).transpose(1, 2).flatten(2)
