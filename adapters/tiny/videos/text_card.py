"""The card of the text encoder of the embedded video models, written beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adapters.tiny.curves import cores, plot_curves, read_curves, stage_table

from .text_encoder import TEXT_DIM, TEXT_TOKENS, text_config

_CARD = """\
# Text encoder of the tiny video models

A T5 encoder of {layers} layers of width {width}, {thousands:.0f} thousand parameters
({kilobytes:.0f} kB in bfloat16), with its word-level tokenizer. It reads prompts of the small world
such as "a red circle moves to the right", up to {tokens} tokens; the video models beside it attend
to all of them, zeros after the end.

## Data

Prompts of films, {rows} new ones a step, drawn from seeds that no other training uses.

## Recipe

{recipe}

It is trained as a parser: linear heads on its states answer what each thing of a prompt looks
like, where it starts and what it does; the heads are thrown away, and the encoder stays as it is
while the video models learn. Muon for the hidden matrices, AdamW for the rest, float32. One command
repeats it, and continues after a kill:

```
python -m adapters.tiny.videos.train_video_text --out adapters/tiny/weights/wan/text_encoder
```

![loss](loss.png)

## Scores

Right answers on held-out prompts: {scores}.
"""


def write_text_card(
    out: Path, work: Path, stage: str, scores: Mapping[str, float], rows: int, threads: int
) -> None:
    """Write `README.md` and `loss.png`.

    Args:
        out: Folder of the encoder.
        work: Folder of the loss curve.
        stage: Name of the stage.
        scores: Share of right answers, per question.
        rows: Prompts a step.
        threads: CPU cores that the training used.
    """
    curves = read_curves(work, [stage])
    size = (out / "model.safetensors").stat().st_size
    config = text_config()
    text = _CARD.format(
        layers=config.num_layers,
        width=TEXT_DIM,
        tokens=TEXT_TOKENS,
        thousands=size / 2e3,
        kilobytes=size / 1e3,
        rows=rows,
        recipe=stage_table(curves, cores(threads)),
        scores=", ".join(f"{name} {value:.1%}" for name, value in scores.items()),
    )
    (out / "README.md").write_text(text)
    plot_curves(curves, out / "loss.png", label="loss")
