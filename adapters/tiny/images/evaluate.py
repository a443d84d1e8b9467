"""Score an embedded image model: draw held-out prompts or classes, and let the judge read them.

Usage: python -m adapters.tiny.images.evaluate --model adapters/tiny/weights/llamagen
The last line of output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from adapters.image_tokens.target import ImageTokenTarget
from adapters.llamagen.loading import load_target
from adapters.tiny.world.fidelity import fidelity
from adapters.tiny.world.parse import Score
from adapters.tiny.world.prompt_parser import parse_prompt
from adapters.tiny.world.prompts import write_prompt
from adapters.tiny.world.scene import Scene
from adapters.tiny.world.vocabulary import COLOURS, SHAPES
from adapters.tiny.world.wishes import Wish
from mmspec.engine import Engine
from mmspec.sampling import Sampling
from mmspec.token_target import Request

from .codes import code_scene, picture_codes
from .gpt_shape import CLASS_NAMES, class_of, main_thing
from .judge import Judge, Seen, load_judge, see

SCALES = (1.0, 1.5, 2.0, 3.0)
_PICTURES, _ROWS = 128, 32


def held_out_prompts(count: int) -> tuple[list[Scene], list[str]]:
    """Scenes of the held-out set and a prompt for each."""
    scenes = [code_scene(index, held_out=True) for index in range(count)]
    return scenes, [write_prompt(scene, random.Random(i)) for i, scene in enumerate(scenes)]


def draw(
    target: ImageTokenTarget, subjects: Sequence[str] | Sequence[int], scale: float
) -> Iterator[Tensor]:
    """Draw prompts or classes by plain decoding; yield pixels ``(rows, 3, 64, 64)`` by batch.

    Args:
        target: Sampled as its defaults say, except for the scale.
        subjects: Prompts, or numbers of classes.
        scale: Strength of classifier-free guidance.
    """
    defaults = replace(target.defaults, guidance_scale=scale)
    sampling = Sampling(
        max_new_tokens=target.grid.cells,
        temperature=defaults.temperature,
        top_k=defaults.top_k,
        top_p=defaults.top_p,
    )
    for start in range(0, len(subjects), _ROWS):
        given: list[Any] = list(subjects[start : start + _ROWS])
        prompts, classes = (given, None) if isinstance(given[0], str) else (None, given)
        inputs = target.prepare(prompts, classes, scale)
        seeds = range(start, start + len(given))
        rows, _ = Engine(target).generate(Request(inputs, sampling), seeds=seeds)
        yield target.to_pixels(rows)


def prompt_scores(wishes: Sequence[Wish], seen: Sequence[Seen]) -> dict[str, float]:
    """Share of right answers by name, of all answers, and of pictures without a wrong one."""
    scores = [
        fidelity(wish, one.things, one.background) for wish, one in zip(wishes, seen, strict=True)
    ]
    whole = Score(
        right=sum((score.right for score in scores), Counter()),
        asked=sum((score.asked for score in scores), Counter()),
    )
    shares = {name: whole.right[name] / whole.asked[name] for name in sorted(whole.asked)}
    flawless = sum(score.right.total() == score.asked.total() for score in scores) / len(scores)
    return _rounded({"all": whole.accuracy, "flawless": flawless, **shares})


def class_scores(classes: Sequence[int], seen: Sequence[Seen]) -> dict[str, float]:
    """What is right about the main thing of each picture.

    Args:
        classes: The class asked for, one a picture.
        seen: What the judge sees.

    Returns:
        ``attribute_accuracy``, the mean of ``colour`` and ``shape``, and ``class``, the share of
        pictures where both are right. A picture without a thing is wrong in all.
    """
    right: Counter[str] = Counter()
    for wanted, one in zip(classes, seen, strict=True):
        if one.things:
            thing = main_thing(one.scene)
            colour = thing.colour == COLOURS[wanted // len(SHAPES)]
            shape = thing.shape == SHAPES[wanted % len(SHAPES)]
            right.update(colour=colour, shape=shape)
            right["class"] += colour and shape
    shares = {name: right[name] / len(seen) for name in ("colour", "shape", "class")}
    return _rounded({"attribute_accuracy": (shares["colour"] + shares["shape"]) / 2, **shares})


def evaluate(
    target: ImageTokenTarget, judge: Judge, count: int, scales: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Scores at each guidance scale, and of the true pictures once through the tokenizer."""
    scenes, prompts = held_out_prompts(count)
    if target.classes is None:
        wishes = [parse_prompt(prompt) for prompt in prompts]
        subjects: Sequence[str] | Sequence[int] = prompts
    else:
        subjects = [index % len(CLASS_NAMES) for index in range(count)]

    def scored(pictures: Tensor, of: Sequence[int]) -> dict[str, float]:
        seen = see(judge, pictures.clamp(0, 1))
        if target.classes is None:
            return prompt_scores(wishes, seen)
        return class_scores(of, seen)

    vq: Any = target.image_decoder
    codes = torch.from_numpy(picture_codes(vq.vq, scenes)).long()
    truth = scored(target.to_pixels(codes), [class_of(scene) for scene in scenes])
    scores = {"true pictures": truth}
    asked = [subject for subject in subjects if isinstance(subject, int)]
    for scale in tqdm(scales, "scales"):
        scores[f"scale {scale:g}"] = scored(torch.cat(list(draw(target, subjects, scale))), asked)
    return scores


def main(arguments: list[str] | None = None) -> None:
    """Print the scores and, if asked, write them where the model card looks for them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--judge", type=Path, help="folder of the judge; the embedded one if not")
    parser.add_argument("--pictures", type=int, default=_PICTURES)
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="file for the scores")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    target = load_target(options.model, dtype=torch.float32)
    scores = evaluate(target, load_judge(options.judge), options.pictures, options.scales)
    text = json.dumps({**scores, "counts": {"pictures": options.pictures}})
    if options.out is not None:
        options.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items()}


if __name__ == "__main__":
    main()
