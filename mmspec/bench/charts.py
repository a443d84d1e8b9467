"""Pictures of a table's records: speed, time, acceptance, costs and quality.

Every function takes records and returns a figure, or None where the records hold nothing to show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmspec.bench.records import Entry, Records
from mmspec.bench.standing import Standing, standings
from mmspec.bench.timing import fitted
from mmspec.bench.work import KINDS, time_shares
from mmspec.plots import plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCURACY = "attribute_accuracy"
# Labels of a legend that has room beside the panels, and how far below the best a method lies that
# is not drawn among the others.
_LONG_LEGEND, _FAR = 12, 0.3
_FAINT = 0.35  # opacity of intervals
_GUIDE: dict[str, Any] = {"color": "#808794", "linestyle": "--", "linewidth": 1}


def speedup(records: Records) -> Figure | None:
    """Measured speedup over acceptance length, with what each method's costs would allow.

    On the dashed line drafts cost nothing and a pass over a draft costs what a plain one does.
    """
    rows = [row for row in standings(records) if row.entry.loop and row.entry is not row.plain]
    if not rows:
        return None
    figure, (axes,) = _canvas(1, 6.4, 4.0)
    lengths = [row.acceptance_length or 1.0 for row in rows]
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        colour = _palette(index)
        _point(axes, length, row, row.speedup.middle, label=row.name, color=colour)
        if row.ideal is not None:
            axes.plot(length, row.ideal, marker="o", mfc="none", color=colour)
            axes.plot([length, length], [row.speedup.middle, row.ideal], color=colour, lw=0.8)
    end = max(lengths) * 1.05
    axes.plot([1, end], [1, end], label="free drafts, passes of constant cost", **_GUIDE)
    axes.set(xlabel="acceptance length", ylabel="speedup (hollow: ideal)", xlim=(0.8, end))
    axes.set(title=_title(records, "speedup over acceptance"))
    return _finished(figure, legend=axes)


def time_split(records: Records) -> Figure | None:
    """Time of every method by kind of work, the baseline's being 1."""
    rows = [row for row in standings(records) if time_shares(row.entry)]
    if len(rows) < 2:
        return None
    names = [row.name for row in rows][::-1]
    # Bars, the legend beside them, and names of whatever length.
    width = 6.0 + 0.075 * max(map(len, names))
    figure, (axes,) = _canvas(1, width, 1.2 + 0.22 * len(rows))
    left = [0.0] * len(rows)
    for number, kind in enumerate(KINDS):
        parts = [time_shares(row.entry).get(kind, 0.0) / row.speedup.middle for row in rows][::-1]
        if any(parts):
            axes.barh(names, parts, left=left, color=_palette(number), label=kind, height=0.7)
        left = [start + part for start, part in zip(left, parts, strict=True)]
    axes.set(xlabel="time for the same output, baseline = 1", title=_title(records, "time"))
    axes.margins(y=0.01)
    return _finished(figure, legend=axes)


def positions(records: Records) -> Figure | None:
    """Share of rounds that kept the unit at each place of the draft."""
    entries = [entry for entry in records.entries if entry.loop and entry.loop.by_position]
    if not entries or max(len(_kept(entry)) for entry in entries) < 2:
        return None
    figure, (axes,) = _canvas(1, 6.4, 3.6)
    for index, entry in enumerate(entries):
        places = range(1, 1 + len(_kept(entry)))
        shares = [100 * share for share in _kept(entry)]
        axes.plot(places, shares, ".-", label=entry.name, color=_palette(index))
    axes.set(xlabel="place in the draft", ylabel="accepted, %", ylim=(0, 101))
    axes.set(title=_title(records, "acceptance by place"))
    return _finished(figure, legend=axes)


def costs(records: Records) -> Figure | None:
    """What checking a block costs, in plain passes, by its size; sizes met once are left out."""
    plain = records.plain
    if plain is None or plain.loop is None or not plain.loop.costs:
        return None
    unit = plain.loop.costs[0][2]
    figure, (axes,) = _canvas(1, 6.4, 3.6)
    sizes = []
    for index, entry in enumerate(records.entries):
        known = [cost for cost in entry.loop.costs if cost[1] > 1] if entry.loop else []
        relative = [seconds / unit for _, _, seconds in known]
        if known:
            own = [size for size, _, _ in known]
            axes.plot(own, relative, "o", ms=4, label=entry.name, color=_palette(index))
            sizes += own
    if len(set(sizes)) < 2:
        return None
    axes.axhline(1, **_GUIDE)
    axes.set(xlabel="units that a pass checks, a row", ylabel="time, plain pass = 1")
    axes.set(ylim=(0, None), title=_title(records, "cost of checking"))
    return _finished(figure, legend=axes)


def quality(records: Records) -> Figure | None:
    """Quality over speed, a curve a method; a second panel for the bias of relaxed rules."""
    rows = [row for row in standings(records) if row.mean(ACCURACY)]
    if len(rows) < 2:
        return None
    measures = [ACCURACY, *(["motion"] if any(row.mean("motion") for row in rows) else [])]
    biased = any(row.entry.loop and row.entry.loop.metrics.bias for row in rows)
    figure, panels = _canvas(len(measures) + biased, 5.2 * (len(measures) + biased), 3.8)
    for panel, measure in zip(panels, measures, strict=False):
        for index, group in enumerate(_by_method(rows)):
            _curve(panel, group, measure, _palette(index))
        panel.set(xlabel="speedup", ylabel=f"{measure.replace('_', ' ')}, %")
        _closer(panel, rows, measure)
    if biased:
        for index, group in enumerate(_by_method(rows)):
            bias = [row.entry.loop.metrics.bias if row.entry.loop else 0.0 for row in group]
            speeds = [row.speedup.middle for row in group]
            panels[-1].plot(speeds, bias, "o-", ms=4, color=_palette(index))
        panels[-1].set(xlabel="speedup", ylabel="mean one-step bias")
    panels[0].set(title=_title(records, "quality over speed"))
    return _finished(figure, legend=panels[0])


def lengths(records: Records) -> Figure | None:
    """Speed and quality over the length of drafts, a curve a mode."""
    rows = [row for row in standings(records) if row.entry is not row.plain]
    if not rows:
        return None
    figure, (speed, accuracy) = _canvas(2, 10.4, 3.6)
    for index, group in enumerate(_by_method(rows)):
        at = [int(row.entry.knob) for row in group]
        style = {"ms": 4, "color": _palette(index), "label": group[0].entry.method}
        speed.plot(at, [row.speedup.middle for row in group], "o-", **style)
        shown = [row.mean(ACCURACY) for row in group]
        accuracy.plot(at, [100 * one.middle if one else math.nan for one in shown], "o-", **style)
    plain = standings(records)[0].mean(ACCURACY)
    speed.axhline(1, **_GUIDE)
    if plain is not None:
        accuracy.axhline(100 * plain.middle, **_GUIDE)
    for panel, label in ((speed, "speedup"), (accuracy, "attribute accuracy, %")):
        panel.set(xlabel="drafted vectors a round", ylabel=label, xscale="log")
        panel.set_xticks(sorted({int(row.entry.knob) for row in rows}))
        panel.get_xaxis().set_major_formatter("{x:.0f}")
        panel.minorticks_off()
    speed.set(title=_title(records, "length of drafts"))
    return _finished(figure, legend=speed)


def time_model(records: Records) -> Figure | None:
    """Predicted over measured seconds of every router, by the fitted time model."""
    fit = fitted(records)
    if fit is None:
        return None
    figure, (axes,) = _canvas(1, 4.6, 4.0)
    methods = {entry.name: entry.method for entry in records.entries}
    for index, method in enumerate(dict.fromkeys(methods.values())):
        own = [(seconds, guess) for name, seconds, guess in fit.points if methods[name] == method]
        if own:
            axes.plot(*zip(*own, strict=True), "o", ms=5, label=method, color=_palette(index))
    end = 1.05 * max(seconds for _, seconds, _ in fit.points)
    axes.plot([0, end], [0, end], **_GUIDE)
    axes.set(xlabel="measured seconds a video", ylabel="predicted", xlim=(0, end), ylim=(0, end))
    return _finished(figure, legend=axes)


def growth(records: Records) -> Figure | None:
    """Time of a draft and size of the drafter's cache over the number of visual tokens."""
    figure, panels = _canvas(3, 9, 3.2)
    shown = {
        "first_draft": "first draft, ms",
        "round_draft": "later drafts, ms",
        "cache_kilobytes": "cache, kB",
    }
    for method in sorted({entry.method for entry in records.entries}):
        own = [entry for entry in records.entries if entry.method == method]
        at = [entry.figures["visual_tokens"] for entry in own]
        for panel, name in zip(panels, shown, strict=True):
            panel.plot(at, [entry.figures[name] for entry in own], "o-", label=method)
    for panel, title in zip(panels, shown.values(), strict=True):
        panel.set(title=title, xlabel="visual tokens", xscale="log", ylim=(0, None))
    return _finished(figure, legend=panels[0])


def _canvas(panels: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(1, panels, number + 1) for number in range(panels)]


def _finished(figure: Figure, legend: Axes) -> Figure:
    """The legend beside the panels, a long one below them, so that it hides no point."""
    handles, labels = legend.get_legend_handles_labels()
    style: dict[str, Any] = {"loc": "outside right upper"}
    if len(labels) > _LONG_LEGEND:
        style = {"loc": "outside lower center", "ncols": len(figure.axes) + 1}
        figure.set_figheight(figure.get_figheight() + 0.17 * len(labels) / style["ncols"])
    figure.legend(handles, labels, fontsize=7, frameon=False, **style)
    for axes in figure.axes:
        plain_axes(axes)
    return figure


def _palette(index: int) -> Any:
    """Strong colours first, then their light twins."""
    from matplotlib import colormaps

    return colormaps["tab20"]((2 * index + index // 10) % 20)


def _title(records: Records, what: str) -> str:
    return f"{what}: {records.suite}{f', {records.title}' if records.title else ''}"


def _kept(entry: Entry) -> list[float]:
    return entry.loop.by_position if entry.loop else []


def _by_method(rows: Sequence[Standing]) -> list[list[Standing]]:
    names = dict.fromkeys(row.entry.method for row in rows)
    return [[row for row in rows if row.entry.method == name] for name in names]


def _curve(axes: Axes, group: Sequence[Standing], measure: str, colour: Any) -> None:
    """Points of one method with both intervals, joined."""
    for number, row in enumerate(group):
        shown = row.mean(measure)
        if shown is None:
            continue
        middle = 100 * shown.middle
        error = [[middle - 100 * shown.low], [100 * shown.high - middle]]
        named = row.name if row.entry is row.plain else row.entry.method
        label = named if number == 0 else None
        _point(axes, None, row, middle, label=label, color=colour, yerr=error)
    points = [(row.speedup.middle, row.mean(measure)) for row in group]
    known = [(speed, 100 * one.middle) for speed, one in points if one is not None]
    axes.plot(*zip(*known, strict=True), "-", lw=1, color=colour)


def _closer(axes: Axes, rows: Sequence[Standing], measure: str) -> None:
    """Where a few lie far below all others, show the others, and say what the few are."""
    shown = [(row, one) for row in rows if (one := row.mean(measure)) is not None]
    best = max(one.middle for _, one in shown)
    far = [(row, one) for row, one in shown if best - one.middle > _FAR]
    if not far or len(far) > len(shown) / 10:
        return
    low = min(one.low for _, one in shown if best - one.middle <= _FAR)
    axes.set_ylim(bottom=100 * low - 4)
    said = [f"below: {row.name}, {one.middle:.0%} at {row.speedup.middle:.1f}" for row, one in far]
    axes.annotate("\n".join(said), (0.98, 0.02), xycoords="axes fraction", ha="right", fontsize=7)


def _point(axes: Axes, x: float | None, row: Standing, y: float, **style: Any) -> None:
    """A point whose speedup has an interval: along ``y``, or along ``x`` where none is given."""
    gain = row.speedup
    around = [[gain.middle - gain.low], [gain.high - gain.middle]]
    look = {"fmt": "o", "ms": 4, "elinewidth": 0.8, **style}
    if x is None:
        drawn = axes.errorbar(gain.middle, y, xerr=around, **look)
    else:
        drawn = axes.errorbar(x, y, yerr=around, **look)
    for interval in drawn[2]:
        interval.set_alpha(_FAINT)  # many of them cross; the points must stay visible
