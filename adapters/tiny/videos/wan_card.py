"""Cards of the embedded video models, written beside the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from adapters.tiny.curves import cores, plot_curves, read_curves, stage_table

from .wan_lessons import Rows
from .wan_shape import BLOCK_FRAMES, BLOCKS, DRAFTER, SHALLOW, TARGET, wan_config

_CARD = """\
# Tiny video {kind}

A diffusers `WanTransformer3DModel` of {layers} layers and {millions:.2f} million parameters
({megabytes:.1f} MB in bfloat16) that makes films of plain shapes from prompts such as "a red circle
moves to the right", block by block: {blocks} blocks of {block_frames} latent frames, 69 pictures of
64 x 64. Sampled in four steps, noised anew between them.{drafts}

## Data

{films:,} films of one to three things and the first blocks of {openings:,} others, encoded once;
prompts are written anew whenever a film comes round.

## Recipe

{recipe}

One pass trains all blocks of a film: each noisy block sees the clean blocks before it. First
blocks, which have only the prompt to go by, are most of the rows: {rows.films} films and
{rows.openings} first blocks a step, a loss of each kind. Most noise levels are those of the four
steps. Clean blocks carry a little noise. The weights are a running average (decay {decay} a step).
{sentences}
bfloat16 autocast. These commands, one after another, repeat it{between}, and go on after a kill:

```
{commands}
```

![loss](loss.png)

## Scores

Held-out loss: {loss:.4f}.

{scores}

## Limits

It knows this world and nothing else: plain shapes, six motions, no relations.
"""
# What is particular about a stage.
_SENTENCES = {
    "wan-guided": (
        "`wan-guided` learns first blocks with guidance away from the drafter, before that was\n"
        "taught, as far as the model itself is from it (autoguidance), so that the sampler needs "
        "none."
    ),
    "wan-deepened": (
        "The model grew from one of fewer layers, trained in the same way: new layers, spread "
        "evenly, said\nnothing at first; the guidance away from the drafter stayed."
    ),
    "wan-taught": (
        "`wan-taught` adds to the loss the squared distance from the target's velocities at the "
        "same states."
    ),
}
_SCRIPT = "python -m adapters.tiny.videos.train_wan"
_WEIGHTS, _WORK = "adapters/tiny/weights/wan", "runs/wan"
_ALONE = f"{_SCRIPT} {DRAFTER} --out {_WORK}/alone"
_SHALLOW = f"{_SCRIPT} {SHALLOW} --out {_WORK}/shallow --weak {_WORK}/alone"
_TARGET = (
    f"{_SCRIPT} {TARGET} --out {_WEIGHTS}/target \\\n"
    f"    --start {_WORK}/shallow --weak {_WORK}/alone"
)
_DRAFTER = f"{_SCRIPT} {DRAFTER} --out {_WEIGHTS}/drafter \\\n    --teacher {_WEIGHTS}/target"
_COMMANDS = {  # by the last stage
    "wan-drafter": (_ALONE,),
    "wan-guided": (_ALONE, _SHALLOW),
    "wan-deepened": (_ALONE, _SHALLOW, _TARGET),
    "wan-taught": (_ALONE, _DRAFTER),
}
_DRAFTS = " As a drafter it runs the\nfirst of them only."
_BETWEEN = ", the target's\nown between them"


def write_wan_card(
    kind: str,
    out: Path,
    work: Path,
    stages: Sequence[str],
    *,
    loss: float,
    films: int,
    openings: int,
    rows: Rows,
    decay: float,
    threads: int,
) -> None:
    """Write `README.md` and `loss.png`; scores come from `scores.json` if it is there.

    Args:
        kind: ``target``, ``shallow`` or ``drafter``.
        out: Folder of the model.
        work: Folder of the loss curve.
        stages: Their names.
        loss: On held-out films.
        films: Films trained on.
        openings: First blocks trained on.
        rows: Of a step.
        decay: Of the average of the weights.
        threads: CPU cores that the training used.
    """
    curves = read_curves(work, stages)
    size = (out / "diffusion_pytorch_model.safetensors").stat().st_size
    scores = out / "scores.json"
    special = [name for name in stages if name in _SENTENCES]
    text = _CARD.format(
        kind=kind,
        layers=wan_config(kind)["num_layers"],
        millions=size / 2e6,
        megabytes=size / 1e6,
        blocks=BLOCKS,
        block_frames=BLOCK_FRAMES,
        recipe=stage_table(curves, cores(threads)),
        films=films,
        openings=openings,
        rows=rows,
        decay=decay,
        sentences="\n".join(_SENTENCES[name] for name in special),
        commands="\n".join(_COMMANDS[stages[-1]]),
        drafts=_DRAFTS if kind == DRAFTER else "",
        between=_BETWEEN if stages[-1] == "wan-taught" else "",
        loss=loss,
        scores=_table(json.loads(scores.read_text())) if scores.exists() else "Not measured yet.",
    )
    (out / "README.md").write_text(text)
    plot_curves(curves, out / "loss.png", label="loss")


def _table(scores: dict[str, float]) -> str:
    lines = ["| held-out prompts | |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {value:g} |" for name, value in scores.items()]
    return "\n".join(lines)
