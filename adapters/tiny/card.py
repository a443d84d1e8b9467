"""Model cards: recipe, data, scores and cost, written beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from adapters.tiny.curves import plot_curves, read_curves

_CAPTIONER = """\
# Tiny captioner

A `LlavaForConditionalGeneration` of {millions:.2f} million parameters ({megabytes:.1f} MB in
bfloat16) that describes pictures and clips of a small drawn world. It exists to try and to test
speculative decoding without a download or a GPU: because the world is known, every caption can be
parsed and scored against its scene.

```python
from transformers import AutoProcessor, LlavaForConditionalGeneration

processor = AutoProcessor.from_pretrained("adapters/tiny/weights/captioner")
model = LlavaForConditionalGeneration.from_pretrained("adapters/tiny/weights/captioner")
```

## Shape

CLIP tower: 96 x 96 pixels, patches of 16, 36 tokens a picture, 4 layers of width 128.
Llama: 16 layers of width 160, 5 heads of 32, MLP 320, 1,024 positions, word-level vocabulary.
A clip is its frames as several images in one user turn; 3 to 16 frames occur in training.

## Data

Scenes of one to six things (6 shapes, 8 colours, 3 sizes, 5 textures, 9 cells, 6 background tones)
and clips of one to five things of which one to three move. Drawn on the fly from seeds below 10^9;
held-out seeds are disjoint. Captions come in four styles; a prompt may ask for one, otherwise the
background decides. Nearly every word of a caption is something to be seen: a drafter that is blind
to the picture must guess.

## Recipe

{recipe}

Muon for the hidden matrices, AdamW for the rest, bfloat16 autocast, no dropout; the linear heads of
the first and last stage are thrown away. One command repeats it, and continues after a kill:

```
python -m adapters.tiny.train_captioner --out adapters/tiny/weights/captioner
```

![loss](loss.png)

## Scores

{scores}

## Limits

It knows this world and nothing else: unknown words become `<unk>`, photographs give nonsense.

Captions have 40 to 70 words where there are five or six things, less where there are fewer; four of
five training pictures have five or more.
"""

_BLIND = """\
# Tiny text-only draft model

A `LlamaForCausalLM` of {thousands:.0f} thousand parameters ({kilobytes:.0f} kB in bfloat16): two
layers of width 96 over the captioner's vocabulary, trained on captions without their pictures. It
drafts for the captioner as a drafter that is blind to the picture, which is what it is for: the
baseline that any drafter with eyes must beat. It reads the prompt with the image tokens left out.

## Data

Captions as the captioner learns them, a quarter of them of clips, written on the fly; seeds are
never shared with it or with the held-out set.

## Recipe

{recipe}

Same optimisers as the captioner. One command repeats it:

```
python -m adapters.tiny.train_blind --out adapters/tiny/weights/draft-text
```

![loss](loss.png)

## Scores

On {rows} held-out captions {loss:.3f} nats a word; {right:.1%} of the words are the likeliest one.
"""

_ABOUT = {
    "tower": "the tower reads shape, colour, size, texture and background of each patch",
    "words": "projector and language model on the frozen tower, pictures only",
    "together": "everything, half of the batches clips (3 to 16 frames, mostly 8)",
    "motion": "the same, with a linear head that reads motion off the image tokens",
    "blind": "next word of captions, 64 a batch",
}


def write_card(out: Path, work: Path, stages: Sequence[str]) -> None:
    """Write the captioner's card and loss curve; scores come from `scores.json` if it is there."""
    curves = read_curves(work, stages)
    size = (out / "model.safetensors").stat().st_size
    scores = out / "scores.json"
    text = _CAPTIONER.format(
        millions=size / 2e6,
        megabytes=size / 1e6,
        recipe=_recipe(curves),
        scores=_table(json.loads(scores.read_text())) if scores.exists() else "Not measured yet.",
    )
    (out / "README.md").write_text(text)
    plot_curves(curves, out / "loss.png")


def write_blind_card(out: Path, work: Path, parameters: int, scores: Mapping[str, float]) -> None:
    """Write the card and loss curve of the text-only draft model.

    Args:
        out: Folder of the model.
        work: Folder of the loss curve.
        parameters: Of the model.
        scores: Held-out ``rows``, their ``loss``, and the share of words guessed ``right``.
    """
    curves = read_curves(work, ["blind"])
    text = _BLIND.format(
        thousands=parameters / 1e3,
        kilobytes=2 * parameters / 1e3,
        recipe=_recipe(curves),
        **scores,
    )
    (out / "README.md").write_text(text)
    plot_curves(curves, out / "loss.png")


def _recipe(curves: dict[str, list[dict[str, float]]]) -> str:
    lines = ["| stage | what learns | steps | minutes on 2 CPU cores | last loss |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for stage, rows in curves.items():
        tail = rows[-20:]
        loss = sum(row["loss"] for row in tail) / len(tail)
        minutes = rows[-1]["seconds"] / 60
        lines.append(f"| {stage} | {_ABOUT[stage]} | {len(rows)} | {minutes:.0f} | {loss:.3f} |")
    return "\n".join(lines)


def _table(scores: dict[str, dict[str, float]]) -> str:
    groups = {name: values for name, values in scores.items() if name != "counts"}
    rows = list(dict.fromkeys(key for values in groups.values() for key in values))
    lines = ["| greedy, held-out | " + " | ".join(name.replace("_", " ") for name in groups) + " |"]
    lines.append("| --- |" + " --- |" * len(groups))
    for row in rows:
        cells = [f"{100 * v[row]:.2f} %" if row in v else "" for v in groups.values()]
        lines.append(f"| {row.replace('_', ' ')} | " + " | ".join(cells) + " |")
    counts = ", ".join(f"{count} {name}" for name, count in scores.get("counts", {}).items())
    return "\n".join([*lines, "", f"Measured on {counts}."])
