"""The judge's model card: shape, data, recipe, scores and cost, written beside the weights."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure

from .judge import Judge
from .pictures import SIDE

_CARD = """\
# Judge

A timm `{backbone}` of {thousands:.0f} thousand parameters ({kilobytes:.0f} kB in bfloat16). It
reads a 64 x 64 picture of the small world back into its scene: whether each of the nine cells holds
a thing, its shape, colour, size and texture, and the tone of the background. It scores the pictures
of the embedded image models.

```python
from adapters.tiny.images.judge import load_judge, see

for seen in see(load_judge(), pictures):  # PIL, or (batch, 3, 64, 64) floats in [0, 1]
    print(seen.things, seen.background, seen.confidence)
```

## Shape

The nine crops of 24 x 24 pixels (a cell and 2 pixels around it) go through one shared network;
linear heads read its pooled features. The background is read from the mean of the nine features:
every crop shows some of it.

## Data

Scenes of none to nine things, drawn on the fly from seeds that no other model uses. Three of four
training pictures are worn by several of: cells and pictures shifted by up to a pixel, blur (up to
1 pixel), scaling down to 44 pixels and up, rounding of cosine coefficients as in JPEG, posterising,
4 x 4 patches pulled to their mean, brightness and tint, noise. Labels stay true. 6 % of all cells
are broken (patches shuffled, or moved by 6 pixels and more so that a thing is torn at the edge of
its cell); broken things are labelled as no thing.

## Recipe

{steps} steps of 32 pictures (288 crops), AdamW with a peak rate of 3e-3 that decays linearly over
the last 70 %, bfloat16 autocast, {minutes:.1f} minutes on one CPU thread; last loss {loss:.4f}
nats, summed over the six questions. One command repeats it, and continues after a kill:

```
python -m adapters.tiny.images.train_judge --out adapters/tiny/weights/judge
```

![loss](loss.png)

## Scores

Measured with the saved bfloat16 weights on {pictures:,} held-out pictures (seeds disjoint from
training), in percent. The world has 720 looks of a thing and 6 tones: held-out pictures are new
arrangements, training has seen every look. A thing read as no thing is wrong in all four
attributes; `empty` counts all cells; `picture` counts pictures without any error. "several" wears
every picture by a random 30 % of the artefacts.

{table}

Broken things read as no thing: {rejected:.2f} %.

Cost: {milliseconds:.1f} ms a picture in batches of 64 on {threads} CPU thread(s), float32.

## Limits

It knows this world at this size and grid and nothing else. Two things were never shown to it, and
may be misread, often but not always with less confidence (`Seen.cells`): things made of halves of
two different ones, and things that are 2 to 5 pixels away from the middle of their cell.
"""


def write_judge_card(judge: Judge, out: Path, curve: Path) -> None:
    """Write `README.md` and `loss.png` from `scores.json` in `out` and the curve of training."""
    rows = [json.loads(line) for line in curve.read_text().splitlines()]
    result = json.loads((out / "scores.json").read_text())
    text = _CARD.format(
        backbone=judge.config.backbone,
        thousands=sum(parameter.numel() for parameter in judge.parameters()) / 1e3,
        kilobytes=(out / "model.safetensors").stat().st_size / 1e3,
        steps=len(rows),
        minutes=rows[-1]["seconds"] / 60,
        loss=sum(row["loss"] for row in rows[-20:]) / len(rows[-20:]),
        pictures=result["pictures"],
        table=_table(result["accuracy"]),
        rejected=100 * result["broken_rejected"],
        milliseconds=_milliseconds(judge),
        threads=torch.get_num_threads(),
    )
    (out / "README.md").write_text(text)
    _plot(rows, out / "loss.png")


def _table(scores: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(scores.values())))
    lines = ["| pictures | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for kind, values in scores.items():
        lines.append(f"| {kind} | " + " | ".join(f"{100 * values[n]:.2f}" for n in names) + " |")
    return "\n".join(lines)


def _milliseconds(judge: Judge, batch: int = 64, repeats: int = 5) -> float:
    """Median time a picture takes, after one reading that does not count."""
    pixels, times = torch.rand(batch, 3, SIDE, SIDE), []
    with torch.inference_mode():
        judge(pixels)
        for _ in range(repeats):
            began = time.perf_counter()
            judge(pixels)
            times.append(time.perf_counter() - began)
    return 1e3 * sorted(times)[repeats // 2] / batch


def _plot(rows: list[dict[str, float]], target: Path) -> None:
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], linewidth=0.8)
    axes.set(title="judge", xlabel="step", ylabel="loss (nats)", yscale="log")
    figure.savefig(target, dpi=90)
