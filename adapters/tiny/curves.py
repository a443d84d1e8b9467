"""Loss curves of training stages, read from their logs and drawn beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

Curve = list[dict[str, float]]


def read_curves(work: Path, stages: Sequence[str]) -> dict[str, Curve]:
    """What the training loop logged of each stage, a row a step."""
    return {
        stage: [json.loads(line) for line in (work / f"{stage}.jsonl").read_text().splitlines()]
        for stage in stages
    }


def cores(threads: int) -> str:
    """Where a training ran, in words."""
    return "1 CPU core" if threads == 1 else f"{threads} CPU cores"


def stage_table(curves: Mapping[str, Curve], place: str) -> str:
    """Steps, minutes on `place` and last loss of each stage, in Markdown."""
    lines = [f"| stage | steps | minutes on {place} | last loss |", "| --- | --- | --- | --- |"]
    for stage, rows in curves.items():
        loss = sum(row["loss"] for row in rows[-20:]) / len(rows[-20:])
        lines.append(f"| {stage} | {len(rows)} | {rows[-1]['seconds'] / 60:.0f} | {loss:.3f} |")
    return "\n".join(lines)


def plot_curves(curves: Mapping[str, Curve], target: Path, label: str = "loss (nats)") -> None:
    """Draw the loss of each stage over its steps; ``label`` says what it is measured in."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (stage, rows) in zip(axes, curves.items(), strict=True):
        axis.plot([row["step"] for row in rows], [row["loss"] for row in rows], linewidth=0.8)
        axis.set(title=stage, xlabel="step", yscale="log")
    axes[0].set_ylabel(label)
    figure.savefig(target, dpi=90)
