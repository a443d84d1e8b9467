"""Cards of the low-resolution model and of the up-sampler, written beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from adapters.tiny.curves import plot_curves, read_curves, stage_table

_LOW = """\
# Tiny text-to-image model, low resolution

A LlamaGen transformer of {millions:.2f} million parameters ({megabytes:.1f} MB in bfloat16) that
draws 32 x 32 pictures, 8 x 8 codes, of the small world. It drafts rows for the text-to-image model
beside it (MuLo-SD, arXiv 2601.05149), whose image tokenizer and text encoder it shares; it can also
be loaded and used alone.

```python
from adapters.llamagen.loading import load_target

target = load_target("adapters/tiny/weights/llamagen-low")
```

## Shape

4 layers of width 128, 4 heads of 32, feed-forward 256, a vocabulary of 512.

## Data

{pictures:,} pictures of the set that the large model learns from, each averaged over areas of 2 x 2
pixels and then encoded.

## Recipe

{stages}

`learn` weights codes of the flat background by a quarter and asks the streams where they are and
what lies there; `settle` is the plain loss of all codes. {rows} pictures a step, bfloat16 autocast.

```
python -m adapters.tiny.images.train_mulo low --out adapters/tiny/weights/llamagen-low
```

![loss](loss.png)

## Scores

Held-out loss with the condition: {loss:.3f} nats a code, {loss_things:.3f} off the background.

## Limits

The tokenizer was trained on 64 x 64 pictures: things of half the size lose detail in it. As a
drafter it says what the rows hold, not how every code of the large picture reads.
"""

_UPSAMPLER = """\
# Tiny up-sampler of codes

{thousands:.0f} thousand parameters ({kilobytes:.0f} kB in bfloat16) that turn rows of 8 codes into
twice as many rows of 16, for MuLo-SD (arXiv 2601.05149) on the tiny text-to-image model. A row
depends on its own low-resolution row, on those above and on the high-resolution codes above; never
on anything below.

## Data

Codes of pictures of the set that the large model learns from, at both resolutions: the low ones are
those of the low-resolution model beside it.

## Recipe

{stages}

The loss is the token cross-entropy of the high-resolution codes, with the true ones above given:
the simplest of the losses in the paper, which prefers pixel losses through the image decoder.
{rows} pairs a step, float32.

```
python -m adapters.tiny.images.train_mulo upsampler --out adapters/tiny/weights/upsampler
```

![loss](loss.png)

## Scores

| held-out pictures | |
| --- | --- |
| likeliest code is the right one | {accuracy:.1%} |
| off the background | {accuracy_detail:.1%} |
| mean probability of the right code | {probability:.1%} |

## Limits

Made for one codebook and one ratio. Low-resolution codes leave open how edges fall, so a good part
of the detail is a guess; the target's threshold decides what of it stays.
"""


def write_low_card(
    out: Path,
    work: Path,
    stages: Sequence[str],
    scores: Mapping[str, float],
    pictures: int,
    rows: int,
) -> None:
    """Write `README.md` and `loss.png`.

    Args:
        out: Folder of the model.
        work: Folder of the loss curves.
        stages: Names of the stages.
        scores: Held-out losses.
        pictures: Pictures trained on.
        rows: Pictures a step.
    """
    size = (out / "gpt" / "model.safetensors").stat().st_size
    curves = read_curves(work, stages)
    text = _LOW.format(
        millions=size / 2e6,
        megabytes=size / 1e6,
        stages=stage_table(curves, "a CPU"),
        pictures=pictures,
        rows=rows,
        **scores,
    )
    _write(out, text, curves)


def write_upsampler_card(
    out: Path, work: Path, scores: Mapping[str, float], parameters: int, rows: int
) -> None:
    """Write `README.md`, `scores.json` and `loss.png`.

    Args:
        out: Folder of the up-sampler.
        work: Folder of the loss curve.
        scores: Of held-out pairs.
        parameters: How many there are.
        rows: Pairs a step.
    """
    curves = read_curves(work, ["upsampler"])
    text = _UPSAMPLER.format(
        thousands=parameters / 1e3,
        kilobytes=parameters * 2 / 1e3,
        stages=stage_table(curves, "a CPU"),
        rows=rows,
        **scores,
    )
    (out / "scores.json").write_text(json.dumps(dict(scores), indent=2) + "\n")
    _write(out, text, curves)


def _write(out: Path, text: str, curves: Mapping[str, list[dict[str, float]]]) -> None:
    (out / "README.md").write_text(text)
    plot_curves(curves, out / "loss.png")
