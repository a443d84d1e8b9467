"""Cards of the embedded video models, written beside the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from adapters.tiny.curves import cores, plot_curves, read_curves, stage_table

from .wan_shape import BLOCK_FRAMES, BLOCKS, DRAFTER, wan_config

_CARD = """\
# Tiny video {kind}

A diffusers `WanTransformer3DModel` of {layers} layers and {millions:.2f} million parameters
({megabytes:.1f} MB in bfloat16) that makes films of plain shapes from prompts such as "a red circle
moves to the right", block by block: {blocks} blocks of {block_frames} latent frames, 69 pictures of
64 x 64. Sampled in four steps, noised anew between them.

## Data

{films:,} films of one to three things and the first blocks of {openings:,} others, encoded once;
prompts are written anew whenever a film comes round.

## Recipe

{recipe}

One pass trains all blocks of a film: each noisy block sees the clean blocks before it. First
blocks, which have only the prompt to go by, are most of the rows: {rows} films and {opening_rows}
first blocks a step, a loss of each kind. Most noise levels are those of the four steps. Clean
blocks carry a little noise. The weights are a running average (decay {decay} a
step).{taught}{guided}
bfloat16 autocast. {commands}:

```
{before}{script} {kind} --out adapters/tiny/weights/wan/{kind}{start}
```

![loss](loss.png)

## Scores

Held-out loss: {loss:.4f}.

{scores}

## Limits

It knows this world and nothing else: plain shapes, six motions, no relations.
"""
_TAUGHT = (
    " In the second stage the loss adds the\nsquared distance from the target's velocities at the "
    "same states."
)
_GUIDED = (
    " The second stage learns first blocks with guidance away\nfrom the drafter, before that was "
    "taught, as far as the model itself is from it (autoguidance), so\nthat the sampler needs none."
)
_SCRIPT = "python -m adapters.tiny.videos.train_wan"
_ALONE = "runs/wan/alone"
_BEFORE = f"{_SCRIPT} {DRAFTER} --out {_ALONE}\n"
_TWO = (
    "The second command goes on where the first ended, which was before there\nwas a target; both "
    "continue after a kill"
)
_ONE = "One command repeats it, and continues after a kill"
_START = {
    "taught": " \\\n    --teacher adapters/tiny/weights/wan/target",
    "guided": f" \\\n    --weak {_ALONE}",
}


def write_wan_card(
    kind: str,
    out: Path,
    work: Path,
    stages: Sequence[str],
    *,
    loss: float,
    films: int,
    openings: int,
    rows: int,
    opening_rows: int,
    decay: float,
    threads: int,
    taught: bool,
    guided: bool,
) -> None:
    """Write `README.md` and `loss.png`; scores come from `scores.json` if it is there.

    Args:
        kind: ``target`` or ``drafter``.
        out: Folder of the model.
        work: Folder of the loss curve.
        stages: Their names.
        loss: On held-out films.
        films: Films trained on.
        openings: First blocks trained on.
        rows: Films a step.
        opening_rows: First blocks a step.
        decay: Of the average of the weights.
        threads: CPU cores that the training used.
        taught: Whether the second stage matched a teacher's predictions.
        guided: Whether the second stage guided away from a weaker model.
    """
    curves = read_curves(work, stages)
    size = (out / "diffusion_pytorch_model.safetensors").stat().st_size
    scores = out / "scores.json"
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
        opening_rows=opening_rows,
        decay=decay,
        taught=_TAUGHT if taught else "",
        guided=_GUIDED if guided else "",
        commands=_TWO if taught else _ONE,
        script=_SCRIPT,
        before=_BEFORE * taught,
        start=_START["taught"] * taught + _START["guided"] * guided,
        loss=loss,
        scores=_table(json.loads(scores.read_text())) if scores.exists() else "Not measured yet.",
    )
    (out / "README.md").write_text(text)
    plot_curves(curves, out / "loss.png", label="loss")


def _table(scores: dict[str, float]) -> str:
    lines = ["| held-out prompts | |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {value:g} |" for name, value in scores.items()]
    return "\n".join(lines)
