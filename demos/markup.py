"""Small parts of pages that several tabs show: pictures, badges, bars, tables."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

from PIL import Image

from demos.errors import escape

CLOCK = (
    "Both take turns on this machine, whoever has used less time goes next. Seconds are those of "
    "a run's own rounds and of decoding its pictures; drawing this page is not among them."
)


def data_uri(image: Image.Image) -> str:
    """A picture as it is, as a PNG data URI; the page enlarges it with crisp pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def picture(image: Image.Image, about: str) -> str:
    """A picture that is there as soon as it is in the page."""
    return f'<img alt="{escape(about)}" decoding="sync" src="{data_uri(image)}">'


def badge(kind: str, text: str, about: str = "") -> str:
    """A short statement in a frame."""
    return f'<span class="mm-badge {kind}" title="{escape(about)}">{escape(text)}</span>'


def bar(done: int, of: int) -> str:
    """How far it is."""
    return f'<div class="mm-bar"><i style="width:{100 * done / max(of, 1):.1f}%"></i></div>'


def counts(numbers: Mapping[str, str]) -> str:
    """Numbers above their names; numbers are markup already."""
    inside = "".join(
        f"<div><b>{value}</b><small>{escape(name)}</small></div>" for name, value in numbers.items()
    )
    return f'<div class="mm-count">{inside}</div>'


def seconds(value: float) -> str:
    """Three digits or so."""
    return f"{value:.{2 if value < 10 else 1}f}"


def table(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Numbers by name, a column a run."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in rows.items()
    )
    return f'<table class="mm-sums"><tr><td></td>{head}</tr>{body}</table>'


def remarks(lines: Sequence[str]) -> str:
    """Sentences below the numbers."""
    return "".join(f'<p class="mm-soft">{escape(line)}</p>' for line in lines if line)
