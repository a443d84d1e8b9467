"""What the training of an image drafter leaves behind for people: log, curve and card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

from image_ar.discrete.eagle.network import ImageEagle
from image_ar.discrete.eagle.recipe import Recipe
from mmspec.files import replace_file

Row = dict[str, Any]


def write_log(rows: Sequence[Row], path: Path) -> None:
    """All rows so far as JSON lines."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    replace_file(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_curve(rows: Sequence[Row], path: Path) -> None:
    """Loss and overlap over the steps, as a picture; dots are held-out pictures."""
    from matplotlib.figure import Figure

    train = [row for row in rows if "loss" in row]
    held = [row for row in rows if "held_out" in row]
    figure = Figure(figsize=(7, 3), layout="constrained")
    panels = figure.subplots(1, 2)
    steps = [row["step"] for row in train]
    panels[0].plot(steps, [row["loss"] for row in train], linewidth=0.8)
    panels[0].set(title="loss", yscale="log", xlabel="step")
    for depth in range(len(held[-1]["held_out"])):
        (line,) = panels[1].plot(
            steps, [row["overlap"][depth] for row in train], linewidth=0.8, label=f"{depth + 1}"
        )
        dots = [row["held_out"][depth] for row in held]
        panels[1].plot([row["step"] for row in held], dots, "o", color=line.get_color())
    panels[1].set(title="overlap with the target by depth", xlabel="step")
    panels[1].legend()
    replace_file(path, lambda part: figure.savefig(part, format="png", dpi=90))


def write_card(
    out: Path,
    network: ImageEagle,
    name: str,
    data: str,
    recipe: Recipe,
    rows: Sequence[Row],
    pictures: int,
) -> None:
    """The model card, ``README.md``: target, data, scores, cost, recipe, licence."""
    overlap = [row["held_out"] for row in rows if "held_out" in row][-1]
    seconds = max((row["seconds"] for row in rows if "seconds" in row), default=0.0)
    config = network.config
    count = sum(parameter.numel() for parameter in network.parameters())
    place = "its cell" if config.lead is not None else "its place in the sequence"
    kept = 1 + sum(accumulate(overlap, mul))
    options = "\n".join(f"| {key} | {value} |" for key, value in asdict(recipe).items())
    text = f"""---
library_name: mmspec
tags: [speculative-decoding, image-eagle, drafter]
---

# EAGLE drafter for the image tokens of {name or "its target"}

One Llama layer of width {config.hidden_size} ({count:,} parameters) on the target's hidden states;
each row turns by {place}. It speaks through the target's own output head, and with guidance it runs
both streams, as the target does. The target checks every token, so exact methods (`image-eagle`)
leave the law of the pictures as it is; relaxed ones (`lantern`, `lantern-plus`, `cool`) say how far
they may bend it.

It works with this target only: hidden size {config.hidden_size}, {config.vocab_size:,} tokens, rows
of {config.grid} cells.

## Scores

Mean overlap `sum min(p, q)` of the two laws on {recipe.held_out} held-out pictures, which is the
chance of exact acceptance at temperature 1 without guidance:

| depth | {" | ".join(str(depth + 1) for depth in range(len(overlap)))} |
| --- |{" --- |" * len(overlap)}
| overlap | {" | ".join(f"{value:.3f}" for value in overlap)} |

Were depths independent, a chain of {len(overlap)} would give **{kept:.2f} tokens a target pass**.

![training curve](curve.png)

## Data

{pictures:,} pictures{": " + data if data else ""}.

## Cost

{recipe.steps} steps of {recipe.batch} pictures, {seconds / 60:.1f} minutes.

## Recipe

AdamW and, for matrices, Muon. The loss is the cross-entropy against the target's laws plus smooth
L1 on its hidden states, on the drafter's own predictions ever deeper.

| option | value |
|---|---|
{options}

## Licence

A drafter is derived from its target: the target's licence applies to it.
"""
    replace_file(out / "README.md", lambda part: part.write_text(text, encoding="utf-8"))
