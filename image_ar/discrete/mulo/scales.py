"""Two grids of one picture and the rows of one that a row of the other covers."""

from __future__ import annotations

from dataclasses import dataclass

from image_ar.discrete.grid import Grid


@dataclass(frozen=True)
class Block:
    """A draft's share of a picture.

    Attributes:
        first, last: Low-resolution rows, from the first to before the last.
        start, end: Output positions of the high resolution, from the first to before the last.
    """

    first: int
    last: int
    start: int
    end: int


@dataclass(frozen=True)
class Scales:
    """A picture at a low and at a high resolution.

    Attributes:
        low: Grid of the drafter.
        high: Grid of the target.

    Raises:
        ValueError: The high grid is not a whole multiple, above 1, of the low one.
    """

    low: Grid
    high: Grid

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        ratio = high.rows // low.rows
        if ratio < 2 or (high.rows, high.columns) != (ratio * low.rows, ratio * low.columns):
            raise ValueError(
                f"the low-resolution model writes {low.rows} x {low.columns} cells and the target "
                f"{high.rows} x {high.columns}; the target's grid must be 2, 3, ... times the other"
            )

    @property
    def ratio(self) -> int:
        """High-resolution rows that one low-resolution row covers."""
        return self.high.rows // self.low.rows

    def block(self, done: int, rows: int) -> Block | None:
        """The block of ``rows`` low rows in which output position ``done`` lies.

        Returns:
            None where no cell is left.
        """
        tall = self.ratio * self.high.line
        if done >= self.low.rows * tall:
            return None
        first = done // (rows * tall) * rows
        last = min(first + rows, self.low.rows)
        return Block(first, last, first * tall, last * tall)
