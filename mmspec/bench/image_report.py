"""Tables and curves of the image suite."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from mmspec.bench.image import Drawn


def markdown(rows: Sequence[Drawn]) -> str:
    """The table people read."""
    lines = [
        "| method | passes a picture | acceptance length | pictures/s | speedup over plain [95 %] "
        "| ideal | efficiency | v(k) | one-step bias | attribute accuracy |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        line = row.standing
        rate = line.tokens_per_second / _tokens(rows)
        lines.append(
            f"| {line.name} | {row.forwards:.0f} | {line.acceptance_length or 1:.2f} "
            f"| {rate:.2f} | {line.speedup} | {line.ideal or 1:.2f} | {line.efficiency or 1:.2f} "
            f"| {row.round_cost:.2f} | {row.bias:.3f} | {row.accuracy:.1%} |"
        )
    return "\n".join(lines)


def write_csv(rows: Sequence[Drawn], path: Path) -> None:
    """What the curves show, one line a point."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("method", "knob", "speedup", "passes", "bias", "attribute_accuracy"))
        for row in rows:
            speedup = round(row.standing.speedup.middle, 3)
            numbers = (speedup, round(row.forwards, 1), round(row.bias, 4), row.accuracy)
            table.writerow((row.method, row.knob, *numbers))


def plot(rows: Sequence[Drawn], path: Path) -> None:
    """Attribute accuracy and one-step bias over speed, a curve a method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    quality, bias = figure.subplots(1, 2)
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        speeds = [row.standing.speedup.middle for row in own]
        quality.plot(speeds, [row.accuracy for row in own], marker="o", label=method)
        bias.plot(speeds, [row.bias for row in own], marker="o", label=method)
    quality.set(xlabel="speedup over plain", ylabel="attribute accuracy")
    bias.set(xlabel="speedup over plain", ylabel="mean one-step bias")
    quality.legend()
    figure.savefig(path, dpi=110)


def _tokens(rows: Sequence[Drawn]) -> float:
    """Tokens of a picture: the plain loop makes one a pass."""
    return next(row.forwards for row in rows if row.method == "none")
