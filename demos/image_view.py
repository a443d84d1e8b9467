"""How pictures in the making are shown: cards with counters, a heat map, the numbers at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from typing import Any

from PIL import Image

from demos import markup
from demos.drawing import Easel, enlarged, tinted, without_unknown
from demos.errors import escape
from demos.racing import Runner
from mmspec.heatmap import COLOURS, MEANINGS
from mmspec.rules.certificate import Certificate

ROUNDING = 1e-3  # of numbers of latent vectors, whose deviation is about 1


def stage(easels: Sequence[Easel]) -> str:
    """Cards of all runs, then the heat map of the last one."""
    cards = "".join(map(_card, easels))
    return f'<div class="mm-stage">{cards}{_heat(easels[-1])}</div>'


def pair(easels: Sequence[Easel]) -> tuple[Image.Image, Image.Image] | None:
    """Both pictures, enlarged, to be compared; None unless there are two that are complete."""
    pictures = [easel.image for easel in easels if easel.image and easel.runner.finished]
    return (enlarged(pictures[0]), enlarged(pictures[1])) if len(pictures) == 2 else None


def results(easels: Sequence[Easel], certificate: Certificate, promise: str) -> str:
    """Badges and numbers of complete runs; the plain one, if it ran, comes first.

    Args:
        easels: The runs.
        certificate: Of the method.
        promise: What was set, in a sentence.
    """
    ours = easels[-1].runner
    kind = "good" if certificate.lossless else "warn"
    badges = [markup.badge(kind, certificate.kind, str(certificate))]
    if len(easels) > 1:
        badges += _compared(easels)
    lines = [f"{promise} {_fidelity(ours, certificate)}", markup.CLOCK if len(easels) > 1 else ""]
    return (
        f'<div class="mm-badges">{"".join(badges)}</div>'
        f"{_table([easel.runner for easel in easels])}{markup.remarks(lines)}"
    )


def _card(easel: Easel) -> str:
    runner, cells = easel.runner, len(easel.cells)
    begun = easel.image is not None
    numbers = {
        "forwards": f"{runner.trace.metrics.target_forwards if begun else 0}",
        "cells": f"{easel.drawn}<i>/{cells}</i>",
        "own time": f"{markup.seconds(runner.seconds)}<i> s</i>",
    }
    state = "done" if runner.finished else "drawing" if begun else "waiting"
    picture = easel.image and without_unknown(easel.image, easel.cells, easel.grid)
    return (
        f'<figure class="mm-pic"><header>{escape(runner.title)}<span>{state}</span></header>'
        f"{_frame(picture, f'drawn by {runner.title}')}{markup.bar(easel.drawn, cells)}"
        f"{markup.counts(numbers)}</figure>"
    )


def _heat(easel: Easel) -> str:
    """Who wrote each cell, with shares."""
    shares: Counter[str] = Counter(cell.origin for cell in easel.cells if cell is not None)
    lines = "".join(_line(origin, shares) for origin in COLOURS if shares[origin])
    tint = None
    if easel.image is not None:
        tint = tinted(easel.image, easel.cells, easel.grid)
        tint = without_unknown(tint, easel.cells, easel.grid)
    return (
        '<figure class="mm-pic"><header>who drew each cell'
        f"<span>{escape(easel.runner.title)}</span></header>{_frame(tint, 'heat map')}"
        f'{markup.bar(0, 1)}<div class="mm-shares">{lines}</div></figure>'
    )


def _line(origin: str, shares: Counter[str]) -> str:
    colour = COLOURS[origin]
    fill = f"rgb{colour}" if colour is not None else "transparent"
    return (
        f'<i style="background:{fill}"></i><span>{escape(MEANINGS[origin])}</span>'
        f"<span>{shares[origin] / shares.total():.0%}</span>"
    )


def _frame(image: Image.Image | None, about: str) -> str:
    """A square with a picture, or with nothing yet."""
    inside = "" if image is None else markup.picture(image, about)
    return f'<div class="mm-frame">{inside}</div>'


def _compared(easels: Sequence[Easel]) -> list[str]:
    """Whether the method drew the plain loop's picture, and how fast."""
    plain, ours = easels[0].runner, easels[-1].runner
    pairs = list(zip(units_of(easels[0]), units_of(easels[-1]), strict=True))
    same = sum(one == other for one, other in pairs)
    alike = sum(_close(one, other) for one, other in pairs)
    said = f"{alike} of {len(pairs)} cells alike"
    if alike == len(pairs):
        said = "identical to plain, " + ("cell for cell" if same == alike else "up to rounding")
    kind = "good" if alike == len(pairs) else "plain"
    return [
        markup.badge(kind, said, "units of both pictures, compared just now"),
        markup.badge("plain", f"{plain.seconds / ours.seconds:.2f}× the speed of plain"),
    ]


def units_of(easel: Easel) -> list[Any]:
    """Token or vector of every cell; None where nothing is known."""
    return [cell and cell.unit for cell in easel.cells]


def _close(one: Any, other: Any) -> bool:
    """Whether two units are the same; vectors may differ by what numbers are rounded to.

    A pass over several vectors rounds differently from a pass over one.
    """
    if isinstance(one, tuple) and isinstance(other, tuple):
        return all(abs(a - b) <= ROUNDING for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _fidelity(ours: Runner, certificate: Certificate) -> str:
    """What was measured of how far the method went."""
    if certificate.lossless:
        return ""
    distances = [score for score in ours.trace.scores if isfinite(score)]
    if distances:
        return f"Measured: drafts were {sum(distances) / len(distances):.3f} away on average."
    return f"Measured one-step bias: {ours.trace.metrics.bias:.4f}."


def _table(runners: Sequence[Runner]) -> str:
    metrics = [runner.trace.metrics for runner in runners]
    rows = {
        "forwards of the model": [f"{one.target_forwards}" for one in metrics],
        "cells a forward": [f"{one.tokens / one.target_forwards:.2f}" for one in metrics],
        "seconds": [markup.seconds(runner.seconds) for runner in runners],
        "cells a second": [f"{one.tokens_per_second:.0f}" for one in metrics],
    }
    return markup.table([runner.title for runner in runners], rows)
