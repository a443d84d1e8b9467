"""Noise of video blocks as a function of (seed, block, step).

Drafter and target see the same noise, in whatever order and however often they ask, so that a
block that the target makes anew does not depend on what was drafted before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmspec.noise import Noise


class BlockNoise:
    """Standard normals for every row of a batch.

    Args:
        seeds: One seed a row; a row's noise depends on neither the batch nor the other rows.
        device: Where the numbers are needed; they are drawn on the CPU, so that they are the same
            everywhere.
        dtype: Their format.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.seeds = list(seeds)
        self.device = torch.device(device)
        self.dtype = dtype

    def at(self, block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        """What enters step ``step`` of block ``block``, ``(rows, *shape)``; step 0 starts it."""
        # A fresh source for every question keeps nothing in memory and has no last block.
        noise = Noise(self.seeds, self.device, horizon=1)
        first = torch.zeros(len(self.seeds), 1, dtype=torch.long, device=self.device)
        return noise.normals(f"video block {block} step {step}", first, shape)[:, 0].to(self.dtype)

    def steps(self, block: int, shape: tuple[int, ...]) -> Callable[[int], Tensor]:
        """The noise of one block by step, as :func:`video_ar.rollout.rollout` asks for it."""
        return lambda step: self.at(block, step, shape)
