"""Both halves of a paired cache hold what one cache for each half would hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmspec.cache import RaggedCache
from mmspec.paired_cache import PairedCache

LAYERS, HEADS, DIM, CAPACITY = 2, 2, 4, 16


def write(
    cache: RaggedCache, start: int | Tensor, count: int, longest: int, *values: Tensor
) -> None:
    cache.place(start, count, longest)
    for layer in range(LAYERS):
        cache.store(layer, values[0] + layer, values[1] - layer)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("ragged", [False, True])
def test_halves_are_served_alike(images: int, ragged: bool) -> None:
    generator = torch.Generator().manual_seed(images)
    paired = PairedCache(LAYERS, CAPACITY)
    halves = [RaggedCache(LAYERS, CAPACITY) for _ in range(2)]
    first = [torch.randn(2 * images, HEADS, 5, DIM, generator=generator) for _ in range(2)]
    nodes = [torch.randn(2 * images, HEADS, 6, DIM, generator=generator) for _ in range(2)]
    start = torch.tensor([3, 5, 4][:images]) if ragged else 5
    path = torch.tensor([[0, 2, 5], [1, -1, -1], [3, 4, -1]][:images])
    write(paired, 0, 5, 5, *first)
    write(paired, start, 6, 11, *nodes)
    paired.keep(start, path)
    for side, cache in enumerate(halves):
        write(cache, 0, 5, 5, *(value.chunk(2)[side] for value in first))
        write(cache, start, 6, 11, *(value.chunk(2)[side] for value in nodes))
        cache.keep(start, path)
    assert paired._buffer is not None
    for cache, half in zip(halves, paired._buffer.chunk(2, dim=2), strict=True):
        assert cache._buffer is not None
        assert torch.equal(cache._buffer, half)


def test_slots_are_those_of_the_images() -> None:
    cache = PairedCache(LAYERS, CAPACITY)
    cache.place(torch.tensor([2, 7]), 3, 10)
    assert cache.slots(2).tolist() == [[2, 3, 4], [7, 8, 9]]
    cache.place(4, 2, 6)
    assert cache.slots(2).tolist() == [[4, 5], [4, 5]]
