"""Pictures of a trace: acceptance by position, tokens per round, where the time went.

Figures are built without pyplot, so nothing global changes and threads do not meet.
"""

from __future__ import annotations

import io
from collections import Counter
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec.trace import PHASES, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Mid grey reads on white and on black, so one figure serves light and dark pages.
_INK = "#808794"
_BAR = "#3b82c4"
_PHASE_COLOURS = ("#9a7fd1", "#d9a13a", "#3b82c4", "#4fa888", "#b0b6c0")


def plot_trace(trace: Trace, path: str | Path) -> None:
    """Draw a trace into ``path``; the suffix chooses PNG, SVG or PDF."""
    figure = trace_figure(trace)
    figure.savefig(path, dpi=150, transparent=Path(path).suffix == ".svg")


def plot_scores(trace: Trace, path: str | Path) -> None:
    """Draw a histogram of the numbers that drafted units were judged by into ``path``.

    Numbers that were not finite are counted in the title.
    """
    from matplotlib.figure import Figure

    numbers = [score for score in trace.scores if isfinite(score)]
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    title = f"{len(numbers):,} drafts"
    axes.set_title(f"{title}, {trace.unjudged:,} not finite" if trace.unjudged else title)
    axes.hist(numbers, bins=60, color=_BAR)
    axes.set(xlabel="judged by", ylabel="drafts")
    plain_axes(axes)
    figure.savefig(path, dpi=150, transparent=Path(path).suffix == ".svg")


def svg(trace: Trace) -> str:
    """The figure as an ``<svg>`` element to put into a page."""
    buffer = io.StringIO()
    trace_figure(trace).savefig(
        buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
    )
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def trace_figure(trace: Trace) -> Figure:
    """Three panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    _acceptance(left, trace)
    _emitted(middle, trace)
    _time(right, trace)
    for axes in (left, middle, right):
        plain_axes(axes)
    return figure


def _acceptance(axes: Axes, trace: Trace) -> None:
    """Share of rounds that kept the unit at each draft position."""
    shares = trace.acceptance_by_position
    axes.set_title("accepted by draft position")
    if not shares:
        _empty(axes, "nothing was drafted")
        return
    axes.bar(range(1, len(shares) + 1), [100 * share for share in shares], color=_BAR, width=0.7)
    axes.set(ylim=(0, 100), xlabel="position in the draft", ylabel="accepted, %")
    axes.set_xticks(range(1, len(shares) + 1))


def _emitted(axes: Axes, trace: Trace) -> None:
    """How many tokens a row gained in a round; rounds that read a prompt are left out."""
    # The first round of a row is its prefill.
    rounds = [sorted(Counter(unit.round for unit in row).items())[1:] for row in trace.units]
    counts = Counter(gained for row in rounds for _, gained in row)
    axes.set_title("tokens gained per round")
    if not counts:
        _empty(axes, "no decoding round")
        return
    total, longest = sum(counts.values()), max(counts)
    heights = [100 * counts[n] / total for n in range(1, longest + 1)]
    axes.bar(range(1, longest + 1), heights, color=_BAR, width=0.7)
    mean = sum(n * count for n, count in counts.items()) / total
    axes.axvline(mean, color=_INK, linestyle="--", linewidth=1)
    axes.set_title(f"tokens gained per round: {mean:.2f} on average")
    axes.set(xlabel="tokens (correction or bonus included)", ylabel="rounds, %")
    axes.set(xlim=(0.4, max(longest, 4) + 0.6))
    axes.set_xticks(range(1, max(longest, 4) + 1))


def _time(axes: Axes, trace: Trace) -> None:
    """Seconds of each phase."""
    sums = dict.fromkeys(PHASES, 0.0)
    for record in trace.rounds:
        for phase, seconds in record.seconds.items():
            sums[phase] += seconds
    total = sum(sums.values())
    axes.set_title("where the time went")
    if not total:
        _empty(axes, "nothing was run")
        return
    names = list(reversed(PHASES))
    colours = list(reversed(_PHASE_COLOURS))
    bars = axes.barh(names, [1000 * sums[name] for name in names], color=colours, height=0.65)
    labels = [f"{100 * sums[name] / total:.0f} %" for name in names]
    axes.bar_label(bars, labels, padding=3, color=_INK, fontsize=8)
    axes.set_xlabel("milliseconds")
    axes.margins(x=0.15)


def plain_axes(axes: Axes) -> None:
    """Thin grey axes without a box."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8)
    style: dict[str, Any] = {"color": _INK, "fontsize": 8}
    axes.set_xlabel(axes.get_xlabel(), **style)
    axes.set_ylabel(axes.get_ylabel(), **style)
    axes.set_title(axes.get_title(), color=_INK, fontsize=9)


def _empty(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", va="center", color=_INK, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
