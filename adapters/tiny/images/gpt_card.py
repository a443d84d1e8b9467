"""Cards of the embedded image transformers, written beside the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from adapters.tiny.curves import plot_curves, read_curves, stage_table

_TEXT = """\
# Tiny text-to-image model

A LlamaGen transformer of {millions:.2f} million parameters ({megabytes:.1f} MB in bfloat16) that
draws 64 x 64 pictures of a small world from prompts such as "a large striped red circle above two
small stars on a mint background". It exists to try and to test speculative decoding of images
without a download or a GPU: because the world is known, every picture can be read by the embedded
judge and scored against its prompt.

```python
from adapters.llamagen.loading import load_target

target = load_target("adapters/tiny/weights/llamagen")
```

`gpt/` holds the transformer, `vq/` the image tokenizer, `text_encoder/` a T5 encoder with its
word-level tokenizer.

## Shape

8 layers of width 128, 4 heads of 32, feed-forward 320, 16 x 16 codes of a vocabulary of 512, up to
41 text positions. Text encoder: 3 layers of width 128. Unlike the released models, whose rotation
blanks the queries and keys of the text, this one leaves them as they are (`condition_rope` in
`gpt/config.json`): a code can look up the word it needs instead of the mean of all.

## Data

Pictures of one to four things (6 shapes, 8 colours, 3 sizes, 5 textures, 9 places, 6 backgrounds),
half of them with things that are partly alike. Codes are made once from {pictures:,} pictures;
prompts are written anew whenever a picture comes round. Held-out pictures have seeds of their own.

## Recipe

The text encoder is first trained as a parser whose answers are read linearly off the mean of its
outputs; then it learns along with the transformer. The weights here came about in four runs: tables
and the first six layers of the transformer started from those of the class-to-image model after its
first stage; 1,500 steps of `learn` followed on the frozen parser; then the stages below, with the
encoder learning, the first 3,521 steps of `learn` with the released models' zero rows, under which
76 % of attributes were right after a `settle` of their own. The text of one picture in ten is
dropped, for classifier-free guidance.
"""

_CLASS = """\
# Tiny class-to-image model

A LlamaGen transformer of {millions:.2f} million parameters ({megabytes:.1f} MB in bfloat16) that
draws 64 x 64 pictures of a small world from one of 48 classes, such as "red circle": the colour
and shape of the largest thing, of several the first in raster order. One to three other things may
be there too. It shares the image tokenizer of the text-to-image model beside it.

```python
from adapters.llamagen.loading import load_target

target = load_target("adapters/tiny/weights/llamagen-c2i")
```

## Shape

6 layers of width 128, 4 heads of 32, feed-forward 320, 16 x 16 codes of a vocabulary of 512.

## Data

Pictures are those of the text-to-image model.

## Recipe

One class in ten is dropped, for classifier-free guidance.
"""

_TRAINING = """
{recipe}

`learn` weights codes of the flat background by a quarter and has linear heads that ask the streams
half-way which row and column they are in, and what lies there, and ask the position of the first
code for the whole scene; the heads are thrown away. `settle`
is the plain loss of all codes, so that the model ends with the law of the pictures. Muon for the
hidden matrices, AdamW for the rest, bfloat16 autocast, {rows} pictures a step. One command repeats
it, and continues after a kill:

```
python -m adapters.tiny.images.train_gpt {kind} --out adapters/tiny/weights/{folder}{start}
```

![loss](loss.png)

## Scores

Held-out loss with the condition: {loss:.3f} nats a code, {loss_things:.3f} off the background.

{scores}

## Limits

It knows this world and nothing else. {limits}
"""
_FOLDERS = {"text": "llamagen", "class": "llamagen-c2i"}
_START = " \\\n    --start adapters/tiny/weights/llamagen-c2i/gpt"
_LIMITS = {
    "text": "Words outside its vocabulary become `<unk>`; prompts hold at most 40 words.",
    "class": "A class says nothing about sizes, textures, places and background.",
}


def write_gpt_card(
    kind: str, out: Path, work: Path, stages: Sequence[str], *, pictures: int, rows: int
) -> None:
    """Write `README.md` and `loss.png`; scores come from `scores.json` if it is there.

    Args:
        kind: "text" or "class".
        out: Folder of the model.
        work: Folder of the loss curves and of ``<kind>-loss.json``.
        stages: Names of the stages.
        pictures: Pictures trained on.
        rows: Pictures a step.
    """
    curves = read_curves(work, stages)
    size = (out / "gpt" / "model.safetensors").stat().st_size
    scores = out / "scores.json"
    head = {"text": _TEXT, "class": _CLASS}[kind]
    text = head.format(millions=size / 2e6, megabytes=size / 1e6, pictures=pictures)
    text += _TRAINING.format(
        recipe=stage_table(curves, "2 CPU cores"),
        rows=rows,
        kind=kind,
        folder=_FOLDERS[kind],
        start=_START if kind == "text" else "",
        limits=_LIMITS[kind],
        scores=_table(json.loads(scores.read_text())) if scores.exists() else "Not measured yet.",
        **json.loads((work / f"{kind}-loss.json").read_text()),
    )
    (out / "README.md").write_text(text)
    plot_curves(curves, out / "loss.png")


def _table(scores: dict[str, dict[str, float]]) -> str:
    groups = {name: values for name, values in scores.items() if name != "counts"}
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    lines = ["| read by the judge | " + " | ".join(groups) + " |"]
    lines.append("| --- |" + " --- |" * len(groups))
    for name in names:
        cells = [f"{100 * values[name]:.1f} %" for values in groups.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    count = int(scores["counts"]["pictures"])
    return "\n".join([*lines, "", f"{count} held-out prompts or classes, temperature 1."])
