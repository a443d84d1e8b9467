"""Cards of the embedded MAR models, written beside the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from adapters.mar.config import CAUSAL, MASKED, MARConfig
from adapters.tiny.curves import cores, plot_curves, read_curves, stage_table

from .ends import DRAFT_STEPS, GUIDANCE, TARGET_STEPS
from .mar_shape import DRAFT, mar_config

_ABOUT = {
    CAUSAL: """\
# Tiny class-to-image model on continuous tokens

A causal MAR of {millions:.2f} million parameters ({megabytes:.1f} MB in bfloat16) that draws
64 x 64 pictures of a small world from one of 48 classes, such as "red circle": the colour and shape
of the one thing in it. It writes 8 x 8 latent vectors of 16 numbers in raster order; each is drawn
by a diffusion head. Being causal, it judges a whole draft in one pass, which is what exact
speculation over continuous tokens needs. `model/` holds the network, `vae/` its KL tokenizer.
""",
    MASKED: """\
# Tiny masked class-to-image model on continuous tokens

A MAR of {millions:.2f} million parameters ({megabytes:.1f} MB in bfloat16), as published: an
encoder that sees known vectors only, a decoder that sees all places, a diffusion head. It draws
64 x 64 pictures of a small world from one of 48 classes, such as "red circle", in any order and
several vectors a step. Classes and tokenizer are those of the causal model beside it.
""",
    DRAFT: """\
# Tiny draft model on continuous tokens

A causal MAR of {millions:.2f} million parameters ({megabytes:.1f} MB in bfloat16) that drafts for
the causal model beside it: the same classes, the same tokenizer, fewer layers and a smaller head.
""",
}
_USE = """
```python
from adapters.mar.loading import load_target

target = load_target("adapters/tiny/weights/{folder}")
```

## Shape

{shape} Head: {head_blocks} residual blocks of width {head_width}. {buffer} copies of the class
vector come before the vectors.

## Data

{pictures:,} pictures of one thing (6 shapes, 8 colours, 3 sizes, 5 textures, 9 places, 6
backgrounds), encoded once; their latents are drawn anew from the posterior whenever a picture comes
round. Held-out pictures have seeds of their own, and no other training shares any.

## Recipe

{recipe}

MAR's loss: the squared error of the predicted noise plus the variational term of the learned
variances, at {draws} noise levels for every vector, weighted by one over the share of the signal,
50 at most: at high noise, where the condition decides, errors of the noise are small numbers.
{order}{teacher}One class in ten is dropped, for classifier-free guidance. Vectors of flat
background count a quarter, and a linear head, which is thrown away, asks every condition vector for
the class. `learn` has a constant rate, in `settle` it falls to zero. The weights are a running
average (decay {decay} a step). Muon for the hidden matrices, AdamW for the rest,
bfloat16 autocast, {rows} pictures a step. {ends}One command repeats it, and continues after a kill:

```
python -m adapters.tiny.latents.train_mar {kind} --out adapters/tiny/weights/{folder}{start}
```

![loss](loss.png)

## Scores

Held-out loss with the class: {loss:.4f}.

{scores}

## Limits

It knows this world and nothing else. Sampling clips the clean vector that a predicted noise implies
to the range of the training latents: at the first step an error of the noise counts hundreds of
times, and without clipping so small a head draws noise. A class says nothing about sizes, textures,
places and background.
"""
_ENDS = """\
`ends`, in float32, is
about what acceptance asks: along the same noise and equally guided, chains of {draft_steps} steps
are to end where the target's chains of {target_steps} end. Their mean distance is the loss, small
ones squared; single steps go on counting a little, so that the draft can still take all of them.
Two in five of the vectors are not of flat background. (These weights: the first 1,500 steps drew 8
pictures a step and all vectors alike, along noise that was summed without weights.) `drawn` is the
same, every other step told a picture that the target has drawn itself, of {drawings:,}: they differ
from true ones, and drafts are made after nothing else.
"""
_END_SCORES = """\
Along other noise, told what the target has drawn before them at guidance {guidance:g}: its
{draft_steps} steps end a median of {flat:.3f} from where the target's {target_steps} end on flat
background and of {things:.3f} where there is a thing, {within_half:.1%} of all vectors within 0.5
and {within_one:.1%} within 1."""
_CHAINS = {"draft_steps": DRAFT_STEPS, "target_steps": TARGET_STEPS, "guidance": GUIDANCE}
_FOLDERS = {CAUSAL: "mar", MASKED: "mar-masked", DRAFT: "mar-draft"}
_TEACHER = (
    "To this comes the squared distance from the noise that the causal model predicts at the\n"
    "same states, told the same vectors, so that the two denoise alike. "
)
_START = " \\\n    --teacher adapters/tiny/weights/mar"
_ORDER = (
    "Vectors are hidden in random order; the hidden share is a normal of\n"
    "mean 1 and deviation 0.25, cut to 0.7 to 1. "
)


def write_mar_card(
    kind: str,
    out: Path,
    work: Path,
    stages: Sequence[str],
    *,
    pictures: int,
    drawings: int,
    rows: int,
    threads: int,
    taught: bool,
    draws: int,
    decay: float,
) -> None:
    """Write `README.md` and `loss.png`; scores come from `scores.json` if it is there.

    Args:
        kind: ``causal``, ``masked`` or ``draft``.
        out: Folder of the model.
        work: Folder of the loss curves and of ``<kind>-loss.json``.
        stages: Names of the stages.
        pictures: Pictures trained on.
        drawings: Pictures by the target among them, where it has a draft trained.
        rows: Pictures a step.
        threads: CPU cores that the training used.
        taught: Whether a teacher's predictions were matched.
        draws: Noise levels for every vector of a batch.
        decay: Of the average of the weights.
    """
    curves = read_curves(work, stages)
    size = (out / "model" / "model.safetensors").stat().st_size
    scores = out / "scores.json"
    config = mar_config(kind)
    text = _ABOUT[kind].format(millions=size / 2e6, megabytes=size / 1e6)
    text += _USE.format(
        kind=kind,
        folder=_FOLDERS[kind],
        shape=_shape(config),
        head_blocks=config.head_blocks,
        head_width=config.head_width,
        buffer=config.buffer,
        pictures=pictures,
        recipe=stage_table(curves, cores(threads)),
        draws=draws,
        decay=decay,
        order=_ORDER if kind == MASKED else "",
        teacher=_TEACHER if taught else "",
        start=_START if taught else "",
        rows=rows,
        ends=_ENDS.format(**_CHAINS, drawings=drawings) if kind == DRAFT else "",
        scores=_scores(kind, scores),
        **json.loads((work / f"{kind}-loss.json").read_text()),
    )
    (out / "README.md").write_text(text)
    plot_curves(curves, out / "loss.png", label="loss")


def _shape(config: MARConfig) -> str:
    decoder = f"{config.decoder_depth} layers of width {config.decoder_width}"
    heads = f"{config.decoder_heads} heads"
    if config.variant == CAUSAL:
        return f"{decoder}, {heads}."
    encoder = f"{config.encoder_depth} layers of width {config.encoder_width}"
    return f"Encoder of {encoder}, decoder of {decoder}, {heads} each."


def _scores(kind: str, file: Path) -> str:
    """What the file of scores says; a draft is scored by its distance from the target."""
    if not file.exists():
        return "Not measured yet."
    found = json.loads(file.read_text())
    return _END_SCORES.format(**_CHAINS, **found) if kind == DRAFT else _table(found)


def _table(scores: dict[str, dict[str, float]]) -> str:
    settings = {name: values for name, values in scores.items() if name != "counts"}
    names = list(next(iter(settings.values())))
    heads = [name.replace("_", " ") for name in names]
    lines = ["| read by the judge | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(names)]
    for setting, values in settings.items():
        cells = [f"{values[name]:.1%}" for name in names]
        lines.append(f"| {setting} | " + " | ".join(cells) + " |")
    count = int(scores["counts"]["pictures"])
    return "\n".join(
        [
            *lines,
            "",
            f"{count} pictures a row, temperature 1. Attribute accuracy is the mean of colour and\n"
            "shape, class asks for both. The first row is true pictures through the tokenizer.",
        ]
    )
