"""Keys and values of the drafter's one layer: rows of real pairs first, a tree's scratch behind."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lm_drafting.features.network import Attend


class Slots:
    """A static cache with one length a row, kept by the caller.

    Args:
        shape: ``(batch, key/value heads, head_dim)``.
        like: Gives dtype and device.
    """

    def __init__(self, shape: tuple[int, int, int], like: Tensor) -> None:
        batch, heads, dim = shape
        self._buffer = like.new_zeros(2, batch, heads, 0, dim)
        self._rows = torch.arange(batch, device=like.device).unsqueeze(1)

    @property
    def capacity(self) -> int:
        """Slots a row."""
        return self._buffer.shape[3]

    def reserve(self, capacity: int) -> None:
        """Make room for ``capacity`` slots, keeping what is stored."""
        if capacity > self.capacity:
            # Zeros, not empty: masked slots still enter a matrix product, where NaN would spread.
            self._buffer = F.pad(self._buffer, (0, 0, 0, capacity - self.capacity))

    def attend(
        self, start: int | Tensor, view: int, mask: Tensor | None = None, is_causal: bool = False
    ) -> Attend:
        """Attention that writes from slot ``start`` on and reads the first ``view`` slots.

        Args:
            start: First slot: one number for all rows, or ``(batch,)``.
            view: Slots read.
            mask: Added to the scores, ``(batch or 1, 1, n, view)``; None where all may be seen.
            is_causal: The queries fill the view from slot 0 on; needs no mask.
        """

        def run(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            self._write(start, keys, values)
            k, v = self._buffer[0, :, :, :view], self._buffer[1, :, :, :view]
            return attention(queries, k, v, mask, is_causal)

        return run

    def read(self, row: int, length: int) -> Tensor:
        """``(2, heads, length, head_dim)`` keys and values of one row, for inspection."""
        return self._buffer[:, row, :, :length]

    def _write(self, start: int | Tensor, keys: Tensor, values: Tensor) -> None:
        count = keys.shape[2]
        if isinstance(start, int):
            self._buffer[0, :, :, start : start + count] = keys
            self._buffer[1, :, :, start : start + count] = values
            return
        slots = start.unsqueeze(1) + torch.arange(count, device=start.device)
        # Only rows that are complete reach the end; their slots do not matter any more.
        slots = slots.clamp(max=self.capacity - 1)
        self._buffer[0][self._rows, :, slots] = keys.transpose(1, 2)
        self._buffer[1][self._rows, :, slots] = values.transpose(1, 2)


def attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, is_causal: bool = False
) -> Tensor:
    """Scaled dot-product attention, key/value heads shared by groups of query heads."""
    grouped = queries.shape[1] != keys.shape[1]
    return F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=is_causal, enable_gqa=grouped
    )


def causal(start: int | Tensor, count: int, view: int, like: Tensor) -> Tensor:
    """Scores to add so that query ``i`` sees the slots up to ``start + i``.

    Returns:
        ``(batch or 1, 1, count, view)``.
    """
    if isinstance(start, int):
        return like.new_full((1, 1, count, view), float("-inf")).triu_(start + 1)
    last = start.view(-1, 1, 1, 1) + torch.arange(count, device=like.device).view(1, 1, -1, 1)
    return barred(torch.arange(view, device=like.device) <= last, like)


def barred(seen: Tensor, like: Tensor) -> Tensor:
    """0 where ``seen``, minus infinity elsewhere."""
    return like.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))
