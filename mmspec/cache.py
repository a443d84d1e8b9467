"""A ragged static key/value cache that unmodified transformers models write into.

One buffer holds all layers, ``(layers, 2, batch, heads, capacity, head_dim)``. Every row has a
length of its own; a forward pass writes its keys and values into slots chosen beforehand, rejected
slots are simply overwritten later, and committing a tree path is one gather for all layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class RaggedCache(Cache):
    """Preallocated cache with one length a row.

    Use: ``place`` the slots, run the model with ``past_key_values=cache``, then ``keep`` the path
    that was accepted. Lengths live with the caller; rolling back needs no call at all.

    Args:
        layers: Decoder layers that keep keys and values.
        capacity: Slots a row.
    """

    def __init__(self, layers: int, capacity: int) -> None:
        super().__init__(layers=[_Layer(self, index) for index in range(layers)])
        self.capacity = capacity
        self._count = layers
        self._buffer: Tensor | None = None
        self._write: tuple[Tensor, ...] = ()
        self._read: tuple[Tensor, ...] = ()
        self._slots: tuple[int, int] | Tensor = (0, 0)
        self._view = 0
        self._rows: Tensor | None = None

    def place(self, start: int | Tensor, count: int, longest: int) -> None:
        """Choose where the next forward pass writes.

        Args:
            start: First slot: one number for all rows, or ``(batch,)`` when rows differ.
            count: Slots a row.
            longest: Upper bound, known on the host, of ``start + count`` over the rows: the width
                of the view that attention sees.

        Raises:
            ValueError: The slots do not fit the capacity.
        """
        if longest > self.capacity:
            raise ValueError(
                f"the cache holds {self.capacity} positions and {longest} are needed; "
                "raise max_new_tokens' budget at prefill or shorten the prompt"
            )
        self._view = longest
        if isinstance(start, int):
            self._slots = (start, start + count)
        else:
            self._slots = start.unsqueeze(1) + torch.arange(count, device=start.device)
        if self._buffer is not None:
            self._aim(self._buffer)

    def keep(self, start: Tensor | int, path: Tensor) -> None:
        """Move an accepted path to the front of the slots it was written in.

        Args:
            start: First slot of the tree's nodes (after the root), ``(batch,)`` or one number.
            path: ``(batch, depth)`` node indices, -1 beyond the path. Slots beyond the path receive
                arbitrary rows; they lie past the row's new length.
        """
        if self._buffer is None or path.shape[1] == 0:
            return
        base = start.unsqueeze(1) if isinstance(start, Tensor) else start
        origin = base + path.clamp(min=0)
        batch, depth = path.shape
        if batch == 1 and isinstance(start, int):
            moved = self._buffer.index_select(4, origin[0])
            self._buffer[..., start : start + depth, :] = moved
            return
        steps = torch.arange(depth, device=path.device)
        # Clamped targets only differ for rows that are complete and at the end of the buffer.
        target = (base + steps).expand(batch, depth).clamp(max=self.capacity - 1)
        rows = torch.arange(batch, device=path.device).unsqueeze(1)
        slots_first = self._buffer.permute(2, 4, 0, 1, 3, 5)
        slots_first[rows, target] = slots_first[rows, origin.clamp(max=self.capacity - 1)]

    def store(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's states into the chosen slots; returns the views attention reads."""
        if self._buffer is None:
            self._allocate(keys)
        if isinstance(self._slots, tuple):
            self._write[2 * layer].copy_(keys)
            self._write[2 * layer + 1].copy_(values)
        else:
            self._write[2 * layer][self._rows, :, self._slots] = keys.transpose(1, 2)
            self._write[2 * layer + 1][self._rows, :, self._slots] = values.transpose(1, 2)
        return self._read[2 * layer], self._read[2 * layer + 1]

    @property
    def view(self) -> int:
        """Slots the next forward pass sees."""
        return self._view

    def slots(self, batch: int, device: torch.device | str = "cpu") -> Tensor:
        """``(batch, count)`` slots the next forward pass writes."""
        if isinstance(self._slots, Tensor):
            return self._slots
        return torch.arange(*self._slots, device=device).expand(batch, -1)

    def nbytes(self) -> int:
        """Bytes of the buffer."""
        return 0 if self._buffer is None else self._buffer.nbytes

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots before those being written, for models that derive positions from it."""
        return (
            self._slots[0] if isinstance(self._slots, tuple) else self._view - self._slots.shape[1]
        )

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """Slots a row can hold."""
        return self.capacity

    def _allocate(self, like: Tensor) -> None:
        batch, heads, _, dim = like.shape
        # Zeros, not empty: masked slots still enter a matrix product, where 0 * NaN would spread.
        self._buffer = torch.zeros(
            self._count, 2, batch, heads, self.capacity, dim, dtype=like.dtype, device=like.device
        )
        self._rows = torch.arange(batch, device=like.device).unsqueeze(1)
        self._aim(self._buffer)

    def _aim(self, buffer: Tensor) -> None:
        """Cut the views of all layers at once; doing it a layer at a time is slow."""
        flat = buffer.flatten(0, 1)
        self._read = flat[..., : self._view, :].unbind(0)
        if isinstance(self._slots, tuple):
            self._write = flat[..., self._slots[0] : self._slots[1], :].unbind(0)
        else:
            self._write = flat.unbind(0)


class _Layer(CacheLayerMixin):
    """One decoder layer's window on the shared buffer, as transformers expects it."""

    is_sliding = False
    supports_early_init = False

    def __init__(self, cache: RaggedCache, index: int) -> None:
        super().__init__()
        self._cache, self._index = cache, index
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the buffer is allocated by the cache at the first write."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        return self._cache.store(self._index, key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache._view, 0

    def get_seq_length(self) -> int:
        return self._cache.get_seq_length()

    def get_max_length(self) -> int:
        return self._cache.capacity
