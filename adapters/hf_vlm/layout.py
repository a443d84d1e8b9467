"""Prompts of different lengths: from either padding side to right padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Inputs with one entry a token; everything else (pixels, grids, sizes) does not move with padding.
PER_TOKEN = ("input_ids", "token_type_ids", "mm_token_type_ids", "position_ids")


def right_padded(inputs: dict[str, Any], pad_id: int) -> tuple[dict[str, Any], list[int]]:
    """Move every row's tokens to its front.

    Causal attention then keeps padding out of every real token's sight, and slot, index and logical
    position of a prompt token are one number.

    Args:
        inputs: The processor's tensors.
        pad_id: Token written into the padding; must not be an image placeholder.

    Returns:
        The inputs without ``attention_mask``, cut to the longest row, and the length of every row.

    Raises:
        ValueError: A row without tokens, or a mask of another shape than the ids.
    """
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    rest = {key: value for key, value in inputs.items() if key != "attention_mask"}
    if mask is None:
        return rest, [ids.shape[1]] * ids.shape[0]
    if mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask has shape {tuple(mask.shape)} and input_ids {tuple(ids.shape)}; "
            "pass the 2-D mask the processor returned with the ids"
        )
    mask = mask.bool()
    lengths = mask.sum(1).tolist()
    if min(lengths) == 0:
        raise ValueError(f"row {lengths.index(0)} has no tokens; every prompt needs at least one")
    if min(lengths) == ids.shape[1]:
        return rest, lengths
    longest = max(lengths)
    # A stable sort by "is padding" keeps the order of the real tokens.
    order = (~mask).to(torch.int8).sort(dim=1, stable=True).indices[:, :longest]
    for key in PER_TOKEN:
        if rest.get(key) is not None:
            value = rest[key]
            rest[key] = value.gather(-1, order.expand(*value.shape[:-1], -1))
    rest["input_ids"] = rest["input_ids"].masked_fill(~row_mask(lengths, ids.device), pad_id)
    return rest, lengths


def row_mask(lengths: list[int], device: torch.device) -> Tensor:
    """``(batch, longest)`` bool, True at real tokens of right-padded rows."""
    steps = torch.arange(max(lengths), device=device)
    return steps < torch.tensor(lengths, device=device).unsqueeze(1)
