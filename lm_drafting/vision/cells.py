"""One row for every square of neighbouring visual tokens."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, get_args

from torch import Tensor

from lm_drafting.vision.compressor import Compressed, Grid, SizedCompressor, VisualInput
from lm_drafting.vision.positions import Positions, Stride, covered, tail


class Cells(SizedCompressor):
    """Cuts every frame into cells of ``ratio`` by ``ratio`` tokens; those at the border may be cut.

    A run without a grid is a strip of one row, with cells of ``ratio ** 2`` tokens, so it shrinks
    by the same factor.

    Args:
        ratio: Side of a cell.
        positions: "covered" puts a row at the middle of its cell, "tail" all rows at the end of
            the run.

    Raises:
        ValueError: A ratio below 1, or any other ``positions``.
    """

    reads = "fused"

    def __init__(self, ratio: int = 2, positions: Positions = "covered") -> None:
        super().__init__()
        if ratio < 1:
            raise ValueError(f"ratio={ratio}: a cell has a side of at least 1")
        if positions not in get_args(Positions):
            raise ValueError(f"positions={positions!r}: choose from {get_args(Positions)}")
        self.ratio, self.positions = ratio, positions

    @abstractmethod
    def shrink(self, frames: Tensor, stride: Stride) -> Tensor:
        """One pixel a cell.

        Args:
            frames: ``(frames of all runs, row, rows, columns)``.
            stride: Rows and columns of a cell.

        Returns:
            ``(frames of all runs, row, cells down, cells across)``.
        """

    def forward(self, visual: VisualInput) -> Compressed:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        grid, stride = self._layout(visual.tokens, visual.grid)
        device = visual.fused.device
        frames = visual.fused.unflatten(1, grid).flatten(0, 1).movedim(-1, 1)
        cells = self.shrink(frames, stride).flatten(2).transpose(1, 2)
        rows = cells.reshape(len(visual.fused), -1, cells.shape[-1])
        if self.positions == "tail":
            offsets = tail(visual.tokens, rows.shape[1], device)
        else:
            offsets = covered(grid, stride, device)
        return Compressed.even(rows, offsets)

    def kept(self, tokens: int, grid: Grid | None) -> int:
        """See :class:`~lm_drafting.vision.compressor.SizedCompressor`."""
        (frames, rows, columns), (down, across) = self._layout(tokens, grid)
        return frames * -(-rows // down) * -(-columns // across)

    def spec(self) -> dict[str, Any]:
        """See :class:`~lm_drafting.vision.compressor.VisualCompressor`."""
        return super().spec() | {"ratio": self.ratio, "positions": self.positions}

    def _layout(self, tokens: int, grid: Grid | None) -> tuple[Grid, Stride]:
        if grid is None:
            return (1, 1, tokens), (1, self.ratio**2)
        return grid, (self.ratio, self.ratio)
