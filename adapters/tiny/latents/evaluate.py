"""Score an embedded MAR model: draw classes, and let the judge read the main thing of each picture.

Usage: python -m adapters.tiny.latents.evaluate --model adapters/tiny/weights/mar
The last line of output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from adapters.mar.loading import load_target
from adapters.mar.target import LatentImageTarget
from adapters.tiny.images.evaluate import class_scores
from adapters.tiny.images.gpt_shape import CLASS_NAMES, class_of
from adapters.tiny.images.judge import Judge, load_judge, see
from image_ar.continuous.rules import Own
from mmspec.engine import Engine

from .scenes import THINGS, latent_scene, scene_pixels

SCALES, STEPS = (1.0, 1.5, 2.0, 3.0), (25, 50)
_PICTURES, _ROWS = 96, 48


def draw(
    target: LatentImageTarget, classes: Sequence[int], scale: float, steps: int, rows: int = _ROWS
) -> Tensor:
    """Draw classes by plain decoding, ``(classes, 3, 64, 64)`` in [0, 1].

    Args:
        target: Sampled as its defaults say, except for the scale and the denoising steps.
        classes: Numbers of classes.
        scale: Strength of classifier-free guidance.
        steps: Denoising steps of a vector.
        rows: Pictures at a time.
    """
    parameters = target.parameters({"guidance_scale": scale, "num_inference_steps": steps})
    engine = Engine(target, rule=Own())
    pixels = []
    for start in range(0, len(classes), rows):
        request = target.request(None, classes[start : start + rows], parameters)
        vectors, _ = engine.generate(request, seeds=range(start, start + request.rows))
        pixels.append(target.to_pixels(vectors))
    return torch.cat(pixels)


def evaluate(
    target: LatentImageTarget,
    judge: Judge,
    count: int,
    scales: Sequence[float],
    steps: Sequence[int],
    rows: int = _ROWS,
) -> dict[str, dict[str, float]]:
    """Scores at each guidance scale and number of denoising steps, and of true pictures decoded."""
    scenes = [latent_scene(index, held_out=True, count=THINGS) for index in range(count)]
    with torch.inference_mode():
        mean, _ = target.vae.posterior(scene_pixels(scenes))
    seen = see(judge, target.to_pixels(mean))
    scores = {"true pictures": class_scores([class_of(scene) for scene in scenes], seen)}
    asked = [index % len(CLASS_NAMES) for index in range(count)]
    for scale, number in tqdm(list(product(scales, steps)), "settings"):
        seen = see(judge, draw(target, asked, scale, number, rows))
        scores[f"scale {scale:g}, {number} steps"] = class_scores(asked, seen)
    return scores


def main(arguments: list[str] | None = None) -> None:
    """Print the scores and, if asked, write them where the model card looks for them."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    target = load_target(options.model, dtype=torch.float32)
    scores = evaluate(
        target,
        load_judge(options.judge),
        options.pictures,
        options.scales,
        options.steps,
        options.rows,
    )
    text = json.dumps({**scores, "counts": {"pictures": options.pictures}})
    if options.out is not None:
        options.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--judge", type=Path, help="folder of the judge; the embedded one if not")
    parser.add_argument("--pictures", type=int, default=_PICTURES)
    parser.add_argument("--rows", type=int, default=_ROWS, help="pictures at a time")
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="of denoising")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="file for the scores")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
