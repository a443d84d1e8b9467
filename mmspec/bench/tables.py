"""Tables of records, in Markdown for people and in CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmspec.bench.statistics import Interval

Value = float | int | str | Interval | None
NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        head: Above it in Markdown.
        key: Above it in CSV.
        value: What a row says; None leaves the cell empty.
        pattern: Format of numbers in Markdown.
    """

    head: str
    key: str
    value: Callable[[Any], Value]
    pattern: str = ".2f"


def markdown(columns: Sequence[Column], rows: Sequence[Any]) -> str:
    """The table, without a line end behind it."""
    lines = [f"| {' | '.join(column.head for column in columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = (_shown(column.value(row), column.pattern) for column in columns)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def to_csv(columns: Sequence[Column], rows: Sequence[Any]) -> str:
    """The same numbers with six digits; an interval takes three columns."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    values = [[column.value(row) for column in columns] for row in rows]
    wide = [any(isinstance(line[at], Interval) for line in values) for at in range(len(columns))]
    heads = [
        [column.key, f"{column.key}_low", f"{column.key}_high"] if three else [column.key]
        for column, three in zip(columns, wide, strict=True)
    ]
    table.writerow([name for names in heads for name in names])
    for line in values:
        cells = [_cells(value, three) for value, three in zip(line, wide, strict=True)]
        table.writerow([cell for group in cells for cell in group])
    return buffer.getvalue()


def _shown(value: Value, pattern: str) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    return value.text(pattern) if isinstance(value, Interval) else format(value, pattern)


def _cells(value: Value, three: bool) -> list[str]:
    if isinstance(value, Interval):
        return [f"{number:.6g}" for number in (value.middle, value.low, value.high)]
    cell = "" if value is None else value if isinstance(value, str) else f"{value:.6g}"
    return [cell, "", ""] if three else [cell]
