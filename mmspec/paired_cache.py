"""The cache of classifier-free guidance: every image has two rows, with and without its condition.

Both rows of an image hold the same tokens at the same slots, so whoever places and keeps speaks of
images only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmspec.cache import RaggedCache


class PairedCache(RaggedCache):
    """A ragged cache of ``2 * images`` rows, ``[conditional ; unconditional]``.

    ``place`` and ``keep`` take one entry an image; the model writes and reads both halves.
    """

    def place(self, start: int | Tensor, count: int, longest: int) -> None:
        """Choose where both halves write next; see :meth:`RaggedCache.place`."""
        super().place(_twice(start), count, longest)

    def keep(self, start: Tensor | int, path: Tensor) -> None:
        """Move each image's accepted path in both halves; see :meth:`RaggedCache.keep`."""
        if path.shape[0] > 1 or isinstance(start, Tensor):
            path = path.repeat(2, 1)
        # One image at one place: the base class moves the slots of all rows alike in one gather.
        super().keep(_twice(start), path)

    def slots(self, batch: int, device: torch.device | str = "cpu") -> Tensor:
        """``(batch, count)`` slots that the next pass writes for each image."""
        return super().slots(batch, device)[:batch]


def _twice(start: int | Tensor) -> int | Tensor:
    return start if isinstance(start, int) else start.repeat(2)
