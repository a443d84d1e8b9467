"""What training leaves behind for people: log, curve and model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lm_drafting.features.network import DraftNetwork
from lm_drafting.training.recipe import Recipe
from mmspec.files import replace_file

Row = dict[str, Any]


class Log:
    """JSON lines of a run.

    Args:
        path: File; appended to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, row: Row) -> None:
        """Append a line."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[Row]:
        """All whole lines."""
        found = []
        for line in (
            self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else ()
        ):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def cut(self, step: int) -> None:
        """Forget what came after ``step``: it will be done again."""
        kept = "".join(json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step)
        replace_file(self._path, lambda path: path.write_text(kept, encoding="utf-8"))


def write_curve(rows: Sequence[Row], path: Path) -> None:
    """Loss, agreement and held-out acceptance length over the steps, as a picture."""
    from matplotlib.figure import Figure

    train = [row for row in rows if "loss" in row]
    held = [row for row in rows if "held_out" in row]
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, 3)
    steps = [row["step"] for row in train]
    panels[0].plot(steps, [row["loss"] for row in train])
    panels[0].set_title("loss")
    for depth in range(len(train[-1]["agreement"]) if train else 0):
        panels[1].plot(
            steps, [row["agreement"][depth] for row in train], label=f"depth {depth + 1}"
        )
    panels[1].set_title("agreement with the target")
    panels[1].legend()
    lengths = [row["held_out"]["acceptance_length"] for row in held]
    panels[2].plot([row["step"] for row in held], lengths, marker="o")
    panels[2].set_title("held-out acceptance length")
    for panel in panels:
        panel.set_xlabel("step")
    replace_file(path, lambda file: figure.savefig(file, format="png", dpi=110))


def write_card(
    out: Path,
    network: DraftNetwork,
    made_for: Row,
    recipe: Recipe,
    rows: Sequence[Row],
    samples: int,
    data: str,
) -> None:
    """The model card, ``README.md``: target, data, scores, cost, recipe, licence."""
    held = [row["held_out"] for row in rows if "held_out" in row]
    seconds = max((row["seconds"] for row in rows if "seconds" in row), default=0.0)
    scores: Row = held[-1] if held else {"acceptance_length": 0.0, "survival": [], "overlap": 0.0}
    survival = ", ".join(f"{share:.2f}" for share in scores["survival"])
    options = "\n".join(f"| {key} | {value} |" for key, value in asdict(recipe).items())
    drawn = "greedy" if recipe.temperature == 0 else f"drawn at temperature {recipe.temperature}"
    kind = made_for["model_type"] or "same model"
    target = made_for["name"] or made_for["model_type"] or "its target"
    count = sum(parameter.numel() for parameter in network.parameters())
    parameters = f"{count:,} parameters"
    text = f"""---
library_name: mmspec
tags: [speculative-decoding, {network.kind}, drafter]
---

# {network.title} drafter for {target}

{network.about} The target checks every token, so its output does not change. {parameters}.

It works with this target only: {kind}, hidden size {made_for["hidden_size"]}, vocabulary
{made_for["vocab_size"]}.

## Scores

On {recipe.held_out} held-out samples, greedy chain of {recipe.measure_depth} tokens:
**{scores["acceptance_length"]:.2f} tokens a target pass**, the target's own token included.
Share of rounds in which at least 1, 2, ... drafted tokens stayed: {survival}.
Mean overlap of the two laws: {scores["overlap"]:.3f}.

![training curve](curve.png)

## Data

{samples} samples{": " + data if data else ""}.
The answers are the target's own, {drawn}.

## Cost

{recipe.steps} steps of {recipe.batch * recipe.accumulate} samples, {seconds / 60:.1f} minutes.

## Recipe

| option | value |
|---|---|
{options}

## Licence

A drafter is derived from its target: the target's licence applies to it.
"""
    replace_file(out / "README.md", lambda path: path.write_text(text, encoding="utf-8"))
