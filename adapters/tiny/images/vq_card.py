"""Card of the embedded tokenizer: recipe, data, scores and cost, written beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

_CARD = """\
# Tiny image tokenizer

A `VQModel` of {thousands:.0f} thousand parameters ({kilobytes:.0f} kB in bfloat16) that turns a
picture of 64 x 64 pixels into 16 x 16 codes out of 512 and back. Its modules are those of the
tokenizer of LlamaGen; its codes, 8 numbers each, have length one. It serves the embedded image
models, which draw scenes of a small world, and nothing else: photographs come out as mush.

```python
from adapters.llamagen.vq_checkpoints import load_vq

tokenizer = load_vq("adapters/tiny/weights/llamagen/vq")
codes = tokenizer.encode(pixels)  # (batch, 3, 64, 64) in [-1, 1] to (batch, 16, 16)
pixels = tokenizer.decode(codes)
```

## Shape

Channels 16, 32 and 64 at 64, 32 and 16 pixels, one residual block each (two in the decoder), no
attention. Two things are unlike the large tokenizers, both so that codes are easy to predict: the
residual blocks of the encoder look at single pixels, which leaves a code a view of nine pixels in
each direction, and norms are over the channels of one pixel, never over the picture. The same
drawing has the same codes in every cell, and a background has one code wherever it lies. The
decoder has ordinary 3 x 3 convolutions and reads neighbouring codes together.

## Data

Scenes of the small world, drawn on the fly: half of them as the image models see them, with one to
four things, half with a thing in each of the nine cells. Cells are 20 pixels wide, five codes.
Seeds of training start at 60,000,000 and never meet those of other trainings or held-out ones.

## Recipe

{steps} steps of {rows} pictures, {minutes:.0f} minutes on 2 CPU cores, float32. AdamW, peak rate
{rate:g}, linear decay over the last {decay:.0%}. The loss is the mean distance of pixels plus its
square plus half the distance of differences to the right and below, plus the codebook loss, plus a
quarter of the commitment loss. The first {warm} steps do not round; then k-means lays the codebook
over the latents. Every {restart} steps, until three quarters of the training, codes of little use
move to latents that are served badly. One command repeats it, and continues after a kill:

```
python -m adapters.tiny.images.train_vq --out adapters/tiny/weights/llamagen/vq
```

![loss](loss.png)

## Scores

| 200 held-out pictures | |
| --- | --- |
| PSNR | {psnr:.1f} dB |
| PSNR of the pixels that are not background | {psnr_things:.1f} dB |
| codes in use | {codes_used:.0f} of 512 |
| perplexity of the codes | {perplexity:.1f} |
| perplexity of the codes that are not background | {perplexity_things:.1f} |
| codes that flat areas of one tone take, at most | {codes_per_background:.0f} |
"""


def write_vq_card(
    out: Path, work: Path, scores: Mapping[str, float], parts: Mapping[str, float]
) -> None:
    """Write `README.md`, `scores.json` and `loss.png` into `out`.

    Args:
        out: Folder with the weights.
        work: Folder with the loss curve `vq.jsonl`.
        scores: From :func:`adapters.tiny.images.vq_scores.vq_scores`.
        parts: Numbers of the recipe: parameters, rows, rate, decay, warm, restart.
    """
    rows = [json.loads(line) for line in (work / "vq.jsonl").read_text().splitlines()]
    text = _CARD.format(
        steps=len(rows),
        minutes=rows[-1]["seconds"] / 60,
        thousands=parts["parameters"] / 1e3,
        kilobytes=parts["parameters"] * 2 / 1e3,
        **{key: value for key, value in parts.items() if key != "parameters"},
        **scores,
    )
    (out / "README.md").write_text(text)
    (out / "scores.json").write_text(json.dumps(dict(scores), indent=2) + "\n")
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.plot([row["step"] for row in rows], [row["loss"] for row in rows], linewidth=0.8)
    axis.set(xlabel="step", ylabel="loss", yscale="log")
    figure.savefig(out / "loss.png", dpi=90)
