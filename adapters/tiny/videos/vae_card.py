"""Card of the embedded video autoencoder, written beside the weights."""

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

Cuts of films of three plain things, drawn on the fly from seeds that no other training uses.

## Recipe

{recipe}

Cuts of a step: {cuts}. After the first stage, {pictures} single frames of other films beside them.
A film falls apart where it is longer than the cuts of training were; hence the last stage.
float32; Muon for the filters, AdamW for the rest. The loss is the mean distance of pixels plus its
square plus half the distance of differences to the right and below, plus {divergence:g} times the
divergence of a latent number from a standard normal. The config holds mean and deviation of each
latent channel. One command repeats it, and continues after a kill:

```
python -m adapters.tiny.videos.train_video_vae --out adapters/tiny/weights/wan/vae
```

![loss](loss.png)

## Scores

Held-out films, {psnr:.1f} dB. Of shape, colour and size of their things the judge reads
{judge:.1%} right in what is decoded, {judge_true:.1%} in the films themselves.
"""


def write_vae_card(
    out: Path,
    work: Path,
    stages: Sequence[str],
    scores: Mapping[str, float],
    parts: Mapping[str, object],
    threads: int,
) -> None:
    """Write `README.md`, `scores.json` and `loss.png` into `out`.

    Args:
        out: Folder with the weights.
        work: Folder with the loss curves.
        stages: Names of the stages.
        scores: From :func:`adapters.tiny.videos.vae_scores.vae_scores`.
        parts: Of the recipe: thousands of parameters, channels, cuts, pictures, divergence.
        threads: CPU cores that the training used.
    """
    curves = read_curves(work, stages)
    size = (out / "diffusion_pytorch_model.safetensors").stat().st_size
    text = _CARD.format(
        recipe=stage_table(curves, cores(threads)),
        kilobytes=size / 1e3,
        **parts,
        **scores,
    )
    (out / "README.md").write_text(text)
    (out / "scores.json").write_text(json.dumps(dict(scores), indent=2) + "\n")
    plot_curves(curves, out / "loss.png", label="loss")
