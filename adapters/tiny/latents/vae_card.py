"""Card of the embedded KL tokenizer: recipe, data, scores and cost, written beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from adapters.tiny.curves import cores, plot_curves, read_curves

_CARD = """\
# Tiny KL tokenizer

A diffusers `AutoencoderKL` of {thousands:.0f} thousand parameters ({kilobytes:.0f} kB in bfloat16)
that turns a picture of 64 x 64 pixels into 8 x 8 vectors of 16 numbers and back. It serves the
embedded MAR models, which draw scenes of one or two things of a small world, and nothing else:
photographs come out as mush.

```python
from diffusers import AutoencoderKL

vae = AutoencoderKL.from_pretrained("adapters/tiny/weights/mar/vae")
latents = vae.encode(pixels).latent_dist.sample() * vae.config.scaling_factor
pixels = vae.decode(latents / vae.config.scaling_factor).sample  # in [-1, 1]
```

## Shape

{channels} channels at 64, 32, 16 and 8 pixels, one residual block each (two in the
decoder) and two in the middle of both halves, group norms of {groups} groups, no attention. Latents
are multiplied by {scale:.4f}, after which their standard deviation over all numbers is one.

## Data

Scenes of the small world, drawn on the fly: one in four with one or two things, as the models
draw them, the others with a thing in each of the nine cells, since full ones hold more edges. Cells
are 20 pixels wide. Seeds are never shared with other trainings or with held-out pictures.

## Recipe

{steps} steps of {rows} pictures, {minutes:.0f} minutes on {cores}, float32. Muon for the filters,
AdamW for the rest, peak rate {rate:g}, linear decay over the last {decay:.0%}. The loss is the mean
distance of pixels plus its square plus half the distance of differences to the right and below,
plus {divergence:g} times the divergence of a latent number from a standard normal. The posterior
starts narrow, so that the decoder has something to read from the first step. One command
repeats it, and continues after a kill:

```
python -m adapters.tiny.latents.train_vae --out adapters/tiny/weights/mar/vae
```

![loss](loss.png)

## Scores

Of 200 held-out pictures of one or two things; the judge is asked for colour and shape of the main
thing, the largest one, and reads {judge_true:.1%} of them right in the pictures themselves.

| decoded from | PSNR | PSNR off the background | read right by the judge |
| --- | --- | --- | --- |
| means of the posterior | {psnr:.1f} dB | {psnr_things:.1f} dB | {judge:.1%} |
| draws from the posterior | {psnr_drawn:.1f} dB | | {judge_drawn:.1%} |
| means, noise of a fifth of the latents' deviation | {psnr_noisy:.1f} dB | | {judge_noisy:.1%} |

The posterior's own noise is {posterior_std:.3f} of the latents' standard deviation.
"""


def write_vae_card(
    out: Path,
    work: Path,
    scores: Mapping[str, float],
    parts: Mapping[str, object],
    threads: int,
) -> None:
    """Write `README.md`, `scores.json` and `loss.png` into `out`.

    Args:
        out: Folder with the weights.
        work: Folder with the loss curve `vae.jsonl`.
        scores: From :func:`adapters.tiny.latents.vae_scores.vae_scores`.
        parts: Of the recipe: thousands of parameters, rows, rate, decay, weight of the divergence,
            scale, channels, groups.
        threads: CPU cores that the training used.
    """
    curves = read_curves(work, ["vae"])
    size = (out / "diffusion_pytorch_model.safetensors").stat().st_size
    rows = curves["vae"]
    text = _CARD.format(
        steps=len(rows),
        minutes=rows[-1]["seconds"] / 60,
        cores=cores(threads),
        kilobytes=size / 1e3,
        **parts,
        **scores,
    )
    (out / "README.md").write_text(text)
    (out / "scores.json").write_text(json.dumps(dict(scores), indent=2) + "\n")
    plot_curves(curves, out / "loss.png", label="loss")
