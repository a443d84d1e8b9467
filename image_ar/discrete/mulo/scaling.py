"""From the codes of one resolution to those of another: over pixels, or with a learned network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from image_ar.discrete.mulo.upsampler import Upsampler
from mmspec.options import whole

CHECKS = {"margin": whole(0)}


class Down(Protocol):
    """Makes low-resolution codes."""

    def down(self, high: Tensor, fresh: int) -> Tensor:
        """The last ``fresh`` low rows ``(batch, fresh, columns)`` under accepted high rows.

        Args:
            high: ``(batch, rows, columns)`` all accepted codes.
            fresh: Low rows wanted.
        """
        ...


class Up(Protocol):
    """Makes high-resolution codes."""

    def up(self, low: Tensor, high: Tensor) -> Tensor:
        """The high rows ``(batch, rows, columns)`` that ``high`` lacks.

        Args:
            low: ``(batch, low rows, low columns)`` codes from the top of the picture on.
            high: ``(batch, rows, columns)`` accepted codes, of fewer low rows.
        """
        ...


class PixelScaling:
    """Decodes, resizes the pixels, encodes again; needs no training.

    Both codecs look at pixels around a code, so rows are decoded and encoded together with some
    rows above them; nothing is known of the rows below. Up-sampling is bicubic and puts the pixels
    of accepted high rows above the new ones; down-sampling takes means of areas.

    Args:
        decode: Pixels ``(batch, 3, height, width)`` in [0, 1] of codes ``(batch, rows, columns)``,
            any number of them.
        encode: The way back.
        ratio: High rows a low row.
        margin: Low rows above that codecs see beside the ones wanted.

    Raises:
        ValueError: A ratio below 2 or a negative margin.
    """

    def __init__(
        self,
        decode: Callable[[Tensor], Tensor],
        encode: Callable[[Tensor], Tensor],
        ratio: int,
        margin: int = 2,
    ) -> None:
        whole(2)("ratio", ratio)
        CHECKS["margin"]("margin", margin)
        self._decode, self._encode = decode, encode
        self._ratio, self._margin = ratio, margin

    def down(self, high: Tensor, fresh: int) -> Tensor:
        """See :class:`Down`."""
        seen = high[:, -(fresh + self._margin) * self._ratio :]
        pixels = self._decode(seen)
        sides = [side // self._ratio for side in pixels.shape[-2:]]
        small = F.interpolate(pixels, sides, mode="area")
        return self._encode(small)[:, -fresh:]

    def up(self, low: Tensor, high: Tensor) -> Tensor:
        """See :class:`Up`."""
        ratio = self._ratio
        fresh = low.shape[1] - high.shape[1] // ratio
        seen = low[:, -(fresh + self._margin) :]
        pixels = self._decode(seen)
        height, width = pixels.shape[-2:]
        large = F.interpolate(pixels, (height * ratio, width * ratio), mode="bicubic").clamp(0, 1)
        large = large[..., -(height // seen.shape[1] * fresh * ratio) :, :]
        above = high[:, max(0, high.shape[1] - self._margin * ratio) :]
        if above.shape[1]:
            large = torch.cat([self._decode(above), large], dim=-2)
        return self._encode(large)[:, -fresh * ratio :]


class LatentScaling:
    """Up-samples with a learned network on codes; a row at a time, reading what it has made.

    Args:
        network: Trained for the codebook and the ratio.
    """

    def __init__(self, network: Upsampler) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def up(self, low: Tensor, high: Tensor) -> Tensor:
        """See :class:`Up`; the likeliest code of every cell."""
        ratio, reach = self.network.config.ratio, self.network.config.reach
        given = high.shape[1]
        for row in range(given // ratio, low.shape[1]):
            first = max(0, row + 1 - reach)
            logits = self.network(low[:, first : row + 1], high[:, first * ratio :])
            high = torch.cat([high, logits[:, -ratio:].argmax(-1)], 1)
        return high[:, given:]
