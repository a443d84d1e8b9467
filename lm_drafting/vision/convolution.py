"""A learned mixture of neighbouring visual tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lm_drafting.vision.cells import Cells
from lm_drafting.vision.positions import Positions, Stride


class Convolution(Cells):
    """Depthwise convolution over every cell, GELU, and a projection of each row.

    The convolution branch of SpecVLM (arXiv 2509.11815). Cells cut by the border are filled up
    with zeros. In a run without a grid the kernel's rows lie side by side.

    Args:
        row_size: Width of a row.
        ratio: Side of a cell.
        positions: See :class:`~lm_drafting.vision.cells.Cells`.
    """

    kind = "conv"

    def __init__(self, row_size: int, ratio: int = 2, positions: Positions = "covered") -> None:
        super().__init__(ratio, positions)
        self.depthwise = nn.Conv2d(row_size, row_size, ratio, ratio, groups=row_size)
        self.pointwise = nn.Linear(row_size, row_size)
        self.reset_parameters()

    def shrink(self, frames: Tensor, stride: Stride) -> Tensor:
        """See :class:`~lm_drafting.vision.cells.Cells`."""
        (rows, columns), (down, across) = frames.shape[2:], stride
        full = F.pad(frames, (0, -columns % across, 0, -rows % down))
        kernel = self.depthwise.weight.view(-1, 1, down, across)
        mixed = F.conv2d(full, kernel, self.depthwise.bias, stride, groups=len(kernel))
        return self.pointwise(F.gelu(mixed).movedim(1, -1)).movedim(-1, 1)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Start from the mean of every cell, randomly projected."""
        super().reset_parameters(generator)
        self.depthwise.weight.fill_(self.ratio**-2)
