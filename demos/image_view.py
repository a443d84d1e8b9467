"""How pictures in the making are shown: cards with counters, a heat map, the numbers at the end."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from math import isfinite

from PIL import Image

from demos.drawing import Easel, enlarged, tinted, without_unknown
from demos.errors import escape
from demos.racing import Runner
from mmspec.heatmap import COLOURS, MEANINGS
from mmspec.rules.certificate import Certificate

CLOCK = (
    "Both take turns on this machine, whoever has used less time goes next. Seconds are those of "
    "a run's own rounds and of decoding its finished picture; drawing this page is not among them."
)


def stage(easels: Sequence[Easel]) -> str:
    """Cards of all runs, then the heat map of the last one."""
    cards = "".join(map(_card, easels))
    return f'<div class="mm-stage">{cards}{_heat(easels[-1])}</div>'


def pair(easels: Sequence[Easel]) -> tuple[Image.Image, Image.Image] | None:
    """Both pictures, enlarged, to be compared; None unless there are two that are complete."""
    pictures = [easel.image for easel in easels if easel.image and easel.runner.finished]
    return (enlarged(pictures[0]), enlarged(pictures[1])) if len(pictures) == 2 else None


def _card(easel: Easel) -> str:
    runner, cells = easel.runner, len(easel.cells)
    begun = easel.image is not None
    counts = (
        (f"{runner.trace.metrics.target_forwards if begun else 0}", "forwards"),
        (f"{easel.drawn}<i>/{cells}</i>", "cells"),
        (f"{_short(runner.seconds)}<i> s</i>", "own time"),
    )
    numbers = "".join(f"<div><b>{value}</b><small>{name}</small></div>" for value, name in counts)
    state = "done" if runner.finished else "drawing" if begun else "waiting"
    picture = easel.image and without_unknown(easel.image, easel.cells, easel.grid)
    return (
        f'<figure class="mm-pic"><header>{escape(runner.title)}<span>{state}</span></header>'
        f"{frame(picture, f'drawn by {runner.title}')}{bar(easel.drawn, cells)}"
        f'<div class="mm-count">{numbers}</div></figure>'
    )


def _short(seconds: float) -> str:
    return f"{seconds:.{2 if seconds < 10 else 1}f}"


def _heat(easel: Easel) -> str:
    """Who wrote each cell, with shares."""
    counts: Counter[str] = Counter(cell.origin for cell in easel.cells if cell is not None)
    lines = "".join(_line(origin, counts) for origin in COLOURS if counts[origin])
    tint = None
    if easel.image is not None:
        tint = tinted(easel.image, easel.cells, easel.grid)
        tint = without_unknown(tint, easel.cells, easel.grid)
    return (
        '<figure class="mm-pic"><header>who drew each cell'
        f"<span>{escape(easel.runner.title)}</span></header>{frame(tint, 'heat map')}"
        f'{bar(0, 1)}<div class="mm-shares">{lines}</div></figure>'
    )


def _line(origin: str, counts: Counter[str]) -> str:
    colour = COLOURS[origin]
    fill = f"rgb{colour}" if colour is not None else "transparent"
    return (
        f'<i style="background:{fill}"></i><span>{escape(MEANINGS[origin])}</span>'
        f"<span>{counts[origin] / counts.total():.0%}</span>"
    )


def frame(image: Image.Image | None, about: str) -> str:
    """A square with a picture, or with nothing yet."""
    inside = ""
    if image is not None:
        inside = f'<img alt="{escape(about)}" decoding="sync" src="{data_uri(image)}">'
    return f'<div class="mm-frame">{inside}</div>'


def bar(done: int, of: int) -> str:
    """How far it is."""
    return f'<div class="mm-bar"><i style="width:{100 * done / max(of, 1):.1f}%"></i></div>'


def data_uri(image: Image.Image) -> str:
    """A picture as it is, as a PNG data URI; the page enlarges it with crisp pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def results(easels: Sequence[Easel], certificate: Certificate, promise: str) -> str:
    """Badges and numbers of complete runs; the plain one, if it ran, comes first.

    Args:
        easels: The runs.
        certificate: Of the method.
        promise: What was set, in a sentence.
    """
    ours = easels[-1].runner
    plain = easels[0].runner if len(easels) > 1 else None
    kind = "good" if certificate.lossless else "warn"
    badges = [badge(kind, certificate.kind, str(certificate))]
    if plain is not None:
        same = _same_cells(easels)
        cells = len(easels[0].cells)
        alike = (
            "identical to plain, cell for cell"
            if same == cells
            else f"{same} of {cells} cells alike"
        )
        about = "units of both pictures, compared just now"
        badges.append(badge("good" if same == cells else "plain", alike, about))
        badges.append(badge("plain", f"{plain.seconds / ours.seconds:.2f}× the speed of plain"))
    measured = _fidelity(ours, certificate)
    lines = [f"{promise} {measured}", CLOCK if plain is not None else ""]
    said = "".join(f'<p class="mm-soft">{escape(line)}</p>' for line in lines if line)
    return (
        f'<div class="mm-badges">{"".join(badges)}</div>'
        f"{_table([easel.runner for easel in easels])}{said}"
    )


def badge(kind: str, text: str, about: str = "") -> str:
    """A short statement in a frame."""
    return f'<span class="mm-badge {kind}" title="{escape(about)}">{escape(text)}</span>'


def _same_cells(easels: Sequence[Easel]) -> int:
    units = [[cell and cell.unit for cell in easel.cells] for easel in easels]
    return sum(one == other for one, other in zip(units[0], units[-1], strict=True))


def _fidelity(ours: Runner, certificate: Certificate) -> str:
    """What was measured of how far the method went."""
    if certificate.lossless:
        return ""
    kept = [score for score in ours.trace.scores if isfinite(score)]
    if kept:
        return f"Measured: drafts were {sum(kept) / len(kept):.3f} away on average."
    return f"Measured one-step bias: {ours.trace.metrics.bias:.4f}."


def _table(runners: Sequence[Runner]) -> str:
    metrics = [runner.trace.metrics for runner in runners]
    rows = {
        "forwards of the model": [f"{one.target_forwards}" for one in metrics],
        "cells a forward": [f"{one.tokens / one.target_forwards:.2f}" for one in metrics],
        "seconds": [_short(runner.seconds) for runner in runners],
        "cells a second": [f"{one.tokens_per_second:.0f}" for one in metrics],
    }
    head = "".join(f"<th>{escape(runner.title)}</th>" for runner in runners)
    body = "".join(
        f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in rows.items()
    )
    return f'<table class="mm-sums"><tr><td></td>{head}</tr>{body}</table>'
