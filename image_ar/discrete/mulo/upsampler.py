"""A small network from low-resolution codes to high-resolution ones, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BACK = 2  # rows above that a masked convolution reads


@dataclass(frozen=True)
class UpsamplerConfig:
    """Shape of an up-sampler.

    Attributes:
        codes: Codes of the codebook, the same at both resolutions.
        ratio: High rows a low row.
        dim: Width of a code's embedding.
        width: Channels at low resolution.
        layers: Convolutions at low resolution.
        high_width: Channels at high resolution, where there is one convolution.
        above: Whether it also reads the high codes above.

    Raises:
        ValueError: A size out of range.
    """

    codes: int
    ratio: int = 2
    dim: int = 8
    width: int = 64
    layers: int = 3
    high_width: int = 48
    above: bool = True

    def __post_init__(self) -> None:
        sizes = (self.codes, self.dim, self.width, self.layers, self.high_width)
        if min(sizes) < 1 or self.ratio < 2:
            raise ValueError(f"an up-sampler needs sizes above 0 and a ratio above 1, got {self}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> UpsamplerConfig:
        """Read what ``to_dict`` wrote.

        Raises:
            ValueError: Unknown or missing fields.
        """
        known = {field.name for field in fields(cls)}
        if set(values) - known or "codes" not in values:
            raise ValueError(f"an up-sampler's config has {sorted(known)}, got {sorted(values)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    @property
    def reach(self) -> int:
        """Low rows from the top one that a high row depends on to its own, both counted."""
        return 2 + _BACK * self.layers + -(-_BACK // self.ratio)


class RowConv(nn.Module):
    """A residual 3 x 3 convolution that reads its own row and two rows above, none below."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        # The norm is over the channels of one cell: over a picture it would look at rows below.
        inner = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.conv(F.pad(F.silu(inner), (1, 1, _BACK, 0)))


class Upsampler(nn.Module):
    """Embeddings of low codes, masked convolutions, pixel shuffle, logits of high codes.

    The logits of a high row depend on its own low row, on low rows above and, where the config says
    so, on the high codes of low rows above; never on anything below. So a whole picture trains in
    one pass, and a row is made as soon as what is above it is accepted.

    Args:
        config: Its shape.
    """

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        area = config.ratio**2
        self.embed = nn.Embedding(config.codes, config.dim)
        self.enter = nn.Conv2d(config.dim, config.width, 1)
        self.enter_above = nn.Conv2d(config.dim * area, config.width, 1) if config.above else None
        self.layers = nn.ModuleList(RowConv(config.width) for _ in range(config.layers))
        self.expand = nn.Conv2d(config.width, config.high_width * area, 1)
        self.refine = RowConv(config.high_width)
        self.output = nn.Linear(config.high_width, config.codes)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Logits of all high codes.

        Args:
            low: ``(batch, rows, columns)`` codes.
            high: ``(batch, high rows, high columns)`` codes from the same row on, of fewer or as
                many low rows; those of a low row are read for the rows below it only.

        Returns:
            ``(batch, ratio * rows, ratio * columns, codes)``.
        """
        x = self.enter(self.embed(low).permute(0, 3, 1, 2))
        if self.enter_above is not None:
            x = x + self._above(high, low.shape[1])
        for layer in self.layers:
            x = layer(x)
        x = F.pixel_shuffle(self.expand(x), self.config.ratio)
        logits: Tensor = self.output(self.refine(x).permute(0, 2, 3, 1))
        return logits

    def _above(self, high: Tensor, rows: int) -> Tensor:
        """``(batch, width, rows, columns)``: in each low row what the high codes above it say."""
        assert self.enter_above is not None
        blocks = high.shape[1] // self.config.ratio
        if not blocks or rows == 1:
            wide = high.shape[2] // self.config.ratio
            return self.embed.weight.new_zeros(high.shape[0], self.config.width, rows, wide)
        codes = self.embed(high).permute(0, 3, 1, 2)
        said = self.enter_above(F.pixel_unshuffle(codes, self.config.ratio))
        seen = said[:, :, : rows - 1]
        return F.pad(seen, (0, 0, 1, rows - 1 - seen.shape[2]))


def start_from(network: Upsampler, codebook: Tensor) -> None:
    """Let the embedding start as the codebook; changes ``network``.

    Raises:
        ValueError: Another number or width of codes.
    """
    if network.embed.weight.shape != codebook.shape:
        raise ValueError(
            f"the up-sampler embeds {tuple(network.embed.weight.shape)} and the codebook is "
            f"{tuple(codebook.shape)}; give codes and dim the codebook's sizes"
        )
    with torch.no_grad():
        network.embed.weight.copy_(codebook)
