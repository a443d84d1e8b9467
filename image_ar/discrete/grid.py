"""The grid that a picture's tokens fill in raster order, with the tokens that structure it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Where each output token of a picture belongs.

    A picture is its rows from the top, every row its cells from the left followed by ``line_ids``,
    and at last ``end_ids``. A *position* counts output tokens, a *cell* counts picture tokens only.

    Attributes:
        rows: Rows of cells.
        columns: Cells of a row.
        line_ids: Vocabulary ids that end every row, the last one too.
        end_ids: Vocabulary ids that end the picture.

    Raises:
        ValueError: A grid without cells.
    """

    rows: int
    columns: int
    line_ids: tuple[int, ...] = ()
    end_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(
                f"a grid needs at least one row and one column, got {self.rows} x {self.columns}"
            )

    @property
    def cells(self) -> int:
        """Picture tokens."""
        return self.rows * self.columns

    @property
    def line(self) -> int:
        """Output tokens of a row, those that end it among them."""
        return self.columns + len(self.line_ids)

    @property
    def length(self) -> int:
        """Output tokens of a picture."""
        return self.rows * self.line + len(self.end_ids)

    def cell_of(self, position: int) -> tuple[int, int] | None:
        """Row and column of the cell at an output position; None where no cell is.

        Raises:
            ValueError: A position outside the picture.
        """
        if not 0 <= position < self.length:
            raise ValueError(f"position {position} is outside the picture's 0 to {self.length - 1}")
        row, column = divmod(position, self.line)
        return (row, column) if row < self.rows and column < self.columns else None

    def position_of(self, row: int, column: int) -> int:
        """Output position of a cell.

        Raises:
            ValueError: A cell outside the grid.
        """
        self._check(row, column)
        return row * self.line + column

    def cell_positions(self) -> list[int]:
        """Output positions of all cells in raster order."""
        starts = range(0, self.rows * self.line, self.line)
        return [start + column for start in starts for column in range(self.columns)]

    def forced_ids(self) -> tuple[tuple[int, int], ...]:
        """Pairs ``(output position, vocabulary id)`` of all tokens that are no cells."""
        ends = self.rows * self.line
        lines = [
            (row * self.line + self.columns + place, token)
            for row in range(self.rows)
            for place, token in enumerate(self.line_ids)
        ]
        return (*lines, *((ends + place, token) for place, token in enumerate(self.end_ids)))

    def neighbours(self, row: int, column: int, reach: int = 1) -> list[tuple[int, int]]:
        """Cells at most ``reach`` rows and columns away, the cell itself not among them.

        Raises:
            ValueError: A cell outside the grid.
        """
        self._check(row, column)
        return [cell for cell in self.around([(row, column)], reach) if cell != (row, column)]

    def around(self, cells: Iterable[tuple[int, int]], reach: int) -> list[tuple[int, int]]:
        """Cells at most ``reach`` rows and columns from any of ``cells``, in raster order."""
        found = set()
        for row, column in cells:
            above, left = max(row - reach, 0), max(column - reach, 0)
            for r in range(above, min(row + reach + 1, self.rows)):
                for c in range(left, min(column + reach + 1, self.columns)):
                    found.add((r, c))
        return sorted(found)

    def islands(self, cells: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
        """Groups of cells that hang together over sides or corners.

        Returns:
            The groups by their first cells, each in raster order.
        """
        left = set(cells)
        groups = []
        for first in sorted(left):
            if first not in left:
                continue
            left.discard(first)
            group, edge = [first], [first]
            while edge:
                near = [cell for cell in self.neighbours(*edge.pop()) if cell in left]
                left.difference_update(near)
                group += near
                edge += near
            groups.append(sorted(group))
        return groups

    def _check(self, row: int, column: int) -> None:
        if not (0 <= row < self.rows and 0 <= column < self.columns):
            raise ValueError(
                f"cell ({row}, {column}) is outside the grid of {self.rows} x {self.columns}"
            )
