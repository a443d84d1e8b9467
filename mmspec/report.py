"""One self-contained HTML page about a run: pictures, coloured captions, numbers, plots."""

from __future__ import annotations

import base64
import io
import platform
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec import __version__, plots, render

if TYPE_CHECKING:
    from PIL import Image

    from mmspec.pipelines.result import Caption, CaptionResult
    from mmspec.trace import Metrics

_PICTURE_SIDE = 240
_FRAME_SIDE = 96


def caption_page(result: CaptionResult) -> str:
    """The page of a caption run; it loads nothing from anywhere."""
    body = [
        f"<header><h1>mmspec caption</h1>{_badges(result)}</header>",
        f'<p class="muted">{escape(hardware_line(result.setting))}</p>',
        _numbers(result),
        _notes(result.notes),
        "<h2>Captions</h2>",
        render.html_legend(),
        *(_card(result, index) for index in range(len(result.outputs))),
        "<h2>How the run went</h2>",
        f"<figure>{plots.svg(result.trace)}</figure>" if result.metrics.tokens else "",
        f"<footer>mmspec {__version__}. Point at a word to see the target's probability of it and "
        "the round that wrote it. Acceptance length counts tokens per row and target pass, the "
        "correction or bonus included. Seconds include vision and prefill.</footer>",
    ]
    return page(f"mmspec caption: {result.model}, {result.method}", body)


def page(title: str, body: Sequence[str]) -> str:
    """A complete HTML document around ``body``."""
    style = resources.files("mmspec").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def hardware_line(setting: dict[str, Any]) -> str:
    """What it ran on, in one line."""
    import torch
    import transformers

    device = setting["device"]
    name = platform.machine()
    if str(device).startswith("cuda") and torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    threads = setting["threads"]
    return (
        f"{device} ({name}), {setting['dtype']}, {threads} thread{'s' if threads != 1 else ''} · "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )


def data_uri(image: Image.Image, side: int) -> str:
    """A picture as a PNG data URI; small ones are enlarged so that their pixels stay crisp."""
    from PIL import Image as Pillow

    factor = side / max(image.size)
    if factor > 1:
        # Whole factors keep edges straight; the browser does the rest of the scaling.
        whole = max(round(factor), 1)
        image = image.resize((image.width * whole, image.height * whole), Pillow.Resampling.BICUBIC)
    else:
        image = image.copy()
        image.thumbnail((2 * side, 2 * side))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _badges(result: CaptionResult) -> str:
    kind = "good" if result.lossless else "warn"
    marks = [
        _badge("plain", f"{result.model} · {result.method}"),
        _badge(kind, "lossless" if result.lossless else "not lossless", result.certificate),
    ]
    if result.identical is not None:
        said = "identical to plain decoding" if result.identical else "differs from plain decoding"
        about = "token ids of both runs, compared for this page"
        marks.append(_badge("good" if result.identical else "bad", said, about))
    if result.speedup is not None:
        marks.append(_badge("plain", f"{result.speedup:.2f}× the speed of plain decoding"))
    return f'<div class="badges">{"".join(marks)}</div>'


def _badge(kind: str, text: str, about: str = "") -> str:
    return f'<span class="badge {kind}" title="{escape(about)}">{escape(text)}</span>'


def _numbers(result: CaptionResult) -> str:
    """The table: plain decoding beside the method, where it was compared."""
    columns: list[tuple[str, Metrics]] = [(result.method, result.metrics)]
    if result.baseline is not None:
        columns.insert(0, ("plain", result.baseline.trace.metrics))
    rows = (
        ("tokens", "{0.tokens}"),
        ("seconds", "{0.seconds:.2f}"),
        ("tokens per second", "{0.tokens_per_second:.1f}"),
        ("seconds to the first token", "{0.first_token_seconds:.3f}"),
        ("passes of the target", "{0.target_forwards}"),
        ("acceptance length", "{0.acceptance_length:.2f}"),
        ("acceptance rate", "{0.acceptance_rate:.0%}"),
    )
    head = "".join(f"<th>{escape(name)}</th>" for name, _ in columns)
    lines = [f"<tr><td></td>{head}</tr>"]
    for name, pattern in rows:
        cells = "".join(f"<td>{pattern.format(metrics)}</td>" for _, metrics in columns)
        lines.append(f"<tr><th>{name}</th>{cells}</tr>")
    table = f"<table>{''.join(lines)}</table>"
    if result.speedup is None:
        return table
    about = f"<b>{result.speedup:.2f}×</b> measured"
    if result.ideal_speedup and result.efficiency:
        about += (
            f", {result.ideal_speedup:.2f}× ideal for this drafter on this machine, "
            f"efficiency {result.efficiency:.0%}"
        )
    return f"{table}<p>{about}</p>"


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="muted">{items}</ul>' if notes else ""


def _card(result: CaptionResult, index: int) -> str:
    """One input: its picture or frames, its caption by origin, what the user should know."""
    output = result.outputs[index]
    text = render.to_html(result.pieces(index)) if not output.error else ""
    error = f'<p class="error">{escape(output.error)}</p>' if output.error else ""
    note = f'<p class="muted">{escape(output.note)}</p>' if output.note else ""
    return (
        f'<article>{_pictures(output)}<div><h3 title="{escape(output.input)}">'
        f"{escape(Path(output.input).name)}</h3>"
        f'<p class="caption">{text}</p>{error}{note}{_differs(result, output)}</div></article>'
    )


def _pictures(output: Caption) -> str:
    thumbs = output.thumbnails
    if not thumbs:
        return ""
    side = _PICTURE_SIDE if len(thumbs) == 1 else _FRAME_SIDE
    images = "".join(f'<img src="{data_uri(image, side)}" alt="">' for image in thumbs)
    return f'<div class="{"picture" if len(thumbs) == 1 else "strip"}">{images}</div>'


def _differs(result: CaptionResult, output: Caption) -> str:
    """What plain decoding wrote, where it wrote something else."""
    if result.identical is not False or output.baseline_ids in (None, output.ids):
        return ""
    plain = result.decode(output.baseline_ids or [])
    return f'<p class="error">plain decoding wrote: {escape(plain)}</p>'
