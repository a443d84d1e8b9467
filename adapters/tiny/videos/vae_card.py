"""Cards of the video autoencoders, written beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from adapters.tiny.curves import cores, plot_curves, read_curves, stage_table

_CARD = """\
# Tiny video autoencoder

A diffusers `AutoencoderKLWan` of {thousands:.0f} thousand parameters ({kilobytes:.0f} kB in
bfloat16): causal, strides 8 in space and 4 in time, {channels} latent channels. It turns films of
64 x 64 pixels into latent frames of 8 x 8 and back, whole or block by block. It knows plain shapes
moving over a flat background, and nothing else.

```python
from adapters.wan.checkpoints import load_vae
from adapters.wan.vae import WanVae

vae = WanVae(load_vae("adapters/tiny/weights/wan/vae"))
latents, memory = vae.encode(pixels)  # (batch, 3, 4n + 1, 64, 64) in [-1, 1]
```

## Data

{data}, drawn on the fly from seeds.

## Recipe

{recipe}

{learned}
float32; Muon for the filters, AdamW for the rest. The distance of pictures is the mean distance of
pixels plus its square plus half the distance of differences to the right and below. The config
holds mean and deviation of each latent channel. {commands}

![loss](loss.png)

## Scores

Held-out films, {psnr:.1f} dB. Of shape, colour and size of their things the judge reads
{judge:.1%} right in what is decoded, {judge_true:.1%} in the films themselves.{own}
"""
_FIRST = {
    "data": "Cuts of films of three plain things, and single frames",
    "learned": """\
Cuts of a step: {cuts}. After the first stage, {pictures} single frames of other films beside them.
A film falls apart where it is longer than the cuts of training were; hence the last stage. The
loss is the distance of pictures plus {divergence:g} times the divergence of a latent number from a
standard normal.""",
    "commands": """One command repeats it, and continues after a
kill:

```
python -m adapters.tiny.videos.train_video_vae --out runs/wan/first-vae
```""",
}
_QUICK = {
    "data": "Films of one to three plain things: {openings} first blocks a step, and every "
    "{film_every} steps a whole\nfilm",
    "learned": """\
A first autoencoder of 657 thousand parameters, `train_video_vae`, made the latents. This one has
the same latents and draws them in a third of the time: it works on patches of 2 x 2 pixels, as Wan
2.2's does. Its decoder learned to draw the films from the first one's latents, with noise of up to
{noise:g} deviations on them, for what the transformers make is not perfect either; its encoder
learned to give those latents ({encoded} first blocks a step). Loss: distance of pictures, plus
squared distance of latents.""",
    "commands": """Two commands repeat it, and continue
after a kill:

```
python -m adapters.tiny.videos.train_video_vae --out runs/wan/first-vae
python -m adapters.tiny.videos.train_quick_vae --out adapters/tiny/weights/wan/vae \\
    --teacher runs/wan/first-vae
```""",
}
_OWN = """
These are of films that the first autoencoder encoded; with its own latents {psnr:.1f} dB and
{judge:.1%}."""


def write_vae_card(
    out: Path,
    work: Path,
    stages: Sequence[str],
    scores: Mapping[str, float],
    parts: Mapping[str, object],
    threads: int,
    own: Mapping[str, float] | None = None,
) -> None:
    """Write `README.md`, `scores.json` and `loss.png` into `out`.

    Args:
        out: Folder with the weights.
        work: Folder with the loss curves.
        stages: Names of the stages.
        scores: From :func:`adapters.tiny.videos.vae_scores.vae_scores`.
        parts: Of the recipe: thousands of parameters, channels, and what its kind of card names.
        threads: CPU cores that the training used.
        own: Of the quick autoencoder, the embedded one: scores with its own latents, where those
            of ``scores`` are the first one's. None for the first one.
    """
    kind = _FIRST if own is None else _QUICK
    curves = read_curves(work, stages)
    size = (out / "diffusion_pytorch_model.safetensors").stat().st_size
    text = _CARD.format(
        recipe=stage_table(curves, cores(threads)),
        kilobytes=size / 1e3,
        own="" if own is None else _OWN.format(**own),
        **{name: text.format(**parts) for name, text in kind.items()},
        **parts,
        **scores,
    )
    (out / "README.md").write_text(text)
    (out / "scores.json").write_text(json.dumps(dict(scores), indent=2) + "\n")
    plot_curves(curves, out / "loss.png", label="loss")
