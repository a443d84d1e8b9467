"""The card of the embedded drafter for image tokens."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from adapters.tiny.run import Stage

_CARD = """\
# Tiny EAGLE drafter for image tokens

One Llama layer of width 128 with the target's two-dimensional rotary positions ({thousands:.0f}
thousand parameters, {kilobytes:.0f} kB in bfloat16). It drafts for the text-to-image model
`llamagen` and for no other: it reads that model's hidden states and speaks through its output head.
 With guidance it runs both streams, as the target does. The target checks every token, so
exact methods (`image-eagle`) leave the output's law as it is; relaxed ones (`lantern`,
`lantern-plus`, `cool`) say how far they may bend it.

## Recipe

{steps} steps of {rows} pictures, AdamW and Muon at {rate}, {minutes:.0f} minutes on 2 CPU cores.
The target's hidden states and laws are made on the fly; a tenth of the pictures go without their
condition. Loss: cross-entropy against the target's laws and smooth L1 on its hidden states,
{depth} depths deep on the drafter's own predictions, each depth counting 0.8 of the one before.

```
python -m adapters.tiny.images.train_eagle --out adapters/tiny/weights/image-eagle
```

![loss](loss.png)

## Scores

Mean overlap `sum min(p, q)` of the two laws on held-out pictures, which is the chance of exact
acceptance at temperature 1 without guidance:

| depth | {depths} |
| --- |{rules}
| overlap | {overlaps} |
"""


def write_eagle_card(out: Path, work: Path, stage: Stage, *, rows: int, depth: int) -> None:
    """Write README.md and loss.png; the scores come from `scores.json`."""
    curve = [json.loads(line) for line in (work / f"{stage.name}.jsonl").read_text().splitlines()]
    size = (out / "model.safetensors").stat().st_size
    overlap = json.loads((out / "scores.json").read_text())["overlap"]
    text = _CARD.format(
        thousands=size / 2e3,
        kilobytes=size / 1e3,
        steps=len(curve),
        rows=rows,
        rate=stage.rate,
        minutes=curve[-1]["seconds"] / 60,
        depth=depth,
        depths=" | ".join(str(level + 1) for level in range(len(overlap))),
        rules=" --- |" * len(overlap),
        overlaps=" | ".join(f"{value:.3f}" for value in overlap),
    )
    (out / "README.md").write_text(text)
    figure = Figure(figsize=(4.5, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["step"] for row in curve], [row["loss"] for row in curve], linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    figure.savefig(out / "loss.png", dpi=90)
