"""Score an embedded video model: make films of held-out prompts, and let the judge read them.

Usage: python -m adapters.tiny.videos.evaluate --model adapters/tiny/weights/wan/target
The last line of output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.tiny.images.judge import Judge, load_judge
from adapters.tiny.world.films import FILM_FRAMES, film_from_seed
from adapters.tiny.world.motion_prompts import (
    MotionWish,
    parse_motion_prompt,
    write_motion_prompt,
)
from adapters.wan.blocks import BlockCausalWan
from adapters.wan.checkpoints import load_wan
from adapters.wan.loading import load_stream
from adapters.wan.vae import WanVae
from video_ar.noise import BlockNoise
from video_ar.rollout import rollout
from video_ar.schedule import few_steps

from .judging import FrameReading, Sighting, matched, questions, read_frames
from .pixels import film_pixels
from .train_wan import EMBEDDED, Text
from .vae_shape import CHANNELS, GRID_SIDE
from .wan_shape import BLOCK_FRAMES, BLOCKS

Track = list[Sighting | None]
# Frames in which every motion can be told; no thing turns before the last of them.
_LEG = 28
# Pixels: a thing that stays moves less, one that goes or hops moves more; a jump is no motion.
_STAYS, _JUMP = 4.0, 5.0


def make_films(model: BlockCausalWan, vae: WanVae, text: Tensor, seeds: Sequence[int]) -> Tensor:
    """Films of prompts ``(prompts, tokens, width)``, ``(prompts, 3, 69, 64, 64)`` in [0, 1]."""
    frames = BLOCKS * BLOCK_FRAMES
    context = model.context(text, GRID_SIDE, GRID_SIDE, frames)
    shape = (CHANNELS, BLOCK_FRAMES, GRID_SIDE, GRID_SIDE)
    noise, schedule = BlockNoise(seeds), few_steps()
    pieces, memory = [], None
    for block in range(BLOCKS):
        step_noise = noise.steps(block, shape)
        made = rollout(model, context, step_noise(0), step_noise, schedule)
        model.commit([made.x0], context)
        pixels, memory = vae.decode(made.x0, memory)
        pieces.append(pixels)
    return torch.cat(pieces, dim=2).add(1).div(2)


def film_scores(
    wishes: Sequence[MotionWish], readings: Sequence[Sequence[FrameReading]]
) -> dict[str, float]:
    """Scores of films from what the judge reads in each of their frames.

    Returns:
        ``attribute_accuracy``, the share of right answers per frame to what the prompts say of
        shape, colour, size and background; ``count``, the share of frames with as many things as
        asked for; ``motion``, the share of things that do what was asked; ``smooth``, the share of
        moves from one frame to the next that are no jumps.
    """
    right: list[bool] = []
    counts: list[bool] = []
    motions: list[bool] = []
    smooth: list[bool] = []
    for asked, frames in zip(wishes, readings, strict=True):
        tracks: list[Track] = [[] for _ in asked.motions]
        for reading in frames:
            counts.append(len(reading.sightings) == len(asked.motions))
            if asked.wish.background is not None:
                right.append(reading.background == asked.wish.background)
            found = matched(asked, reading)
            for thing, seen, track in zip(asked.wish.things, found, tracks, strict=True):
                right += questions(thing, seen)
                track.append(seen)
        motions += [shown(track) == say for track, say in zip(tracks, asked.motions, strict=True)]
        smooth += [step for track in tracks for step in _steady(track)]
    parts = {"attribute_accuracy": right, "count": counts, "motion": motions, "smooth": smooth}
    return {name: round(sum(each) / max(1, len(each)), 4) for name, each in parts.items()}


def shown(track: Track) -> str | None:
    """What a thing does over the first frames of a film; None where it is not seen well enough."""
    middles = [seen.middle for seen in track[: _LEG + 1] if seen is not None]
    if len(middles) <= _LEG // 2:
        return None
    xs, ys = ([middle[axis] for middle in middles] for axis in (0, 1))
    if max(max(xs) - min(xs), max(ys) - min(ys)) < _STAYS:
        return "still"
    across, down = xs[-1] - xs[0], ys[-1] - ys[0]
    # Up and back again within the leg.
    if ys[0] - min(ys) > _STAYS and ys[-1] - min(ys) > _STAYS:
        return "bounces"
    if abs(across) > abs(down):
        return "right" if across > 0 else "left"
    return "down" if down > 0 else "up"


def evaluate(
    model: BlockCausalWan, vae: WanVae, text: Text, judge: Judge, count: int, every: int = 1
) -> dict[str, dict[str, float]]:
    """Scores of made films, and of the true films of the same prompts.

    Args:
        model: Makes the films.
        vae: Decodes them.
        text: Encodes the prompts.
        judge: Reads the frames.
        count: Number of prompts.
        every: True films are read only for one prompt in so many.
    """
    films = [film_from_seed(seed, held_out=True) for seed in range(count)]
    prompts = [write_motion_prompt(film, random.Random(i)) for i, film in enumerate(films)]
    wishes = [parse_motion_prompt(prompt) for prompt in prompts]
    made, true = [], []
    for index, prompt in enumerate(prompts):
        video = make_films(model, vae, text([prompt]), [index])
        made.append(read_frames(judge, video[0].transpose(0, 1)))
        if index % every == 0:
            pixels = film_pixels([films[index]], FILM_FRAMES)[0].transpose(0, 1)
            true.append(read_frames(judge, pixels.add(1).div(2)))
    return {"made": film_scores(wishes, made), "true": film_scores(wishes[::every], true)}


def main(arguments: list[str] | None = None) -> None:
    """Print the scores, and write those of the made films where the card looks for them."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    transformer: Any = load_wan(options.model, dtype=torch.float32)
    scores = evaluate(
        BlockCausalWan(transformer, BLOCK_FRAMES),
        load_stream(options.vae, torch.float32),
        Text(options.text_encoder),
        load_judge(),
        options.films,
        options.every,
    )
    if options.out is not None:
        options.out.write_text(json.dumps(scores["made"], indent=2) + "\n")
    sys.stdout.write(json.dumps({**scores, "counts": {"films": options.films}}) + "\n")


def _steady(track: Track) -> list[bool]:
    """Whether each move of a thing between neighbouring frames is small; unseen ones are not."""
    steps = []
    for before, after in pairwise(track):
        if before is None or after is None:
            steps.append(False)
            continue
        pairs = zip(before.middle, after.middle, strict=True)
        steps.append(max(abs(one - other) for one, other in pairs) < _JUMP)
    return steps


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the transformer")
    parser.add_argument("--vae", type=Path, default=EMBEDDED / "vae", help="the autoencoder")
    parser.add_argument("--text-encoder", type=Path, default=EMBEDDED / "text_encoder")
    parser.add_argument("--films", type=int, default=32)
    parser.add_argument("--every", type=int, default=8, help="true films: one in so many is read")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="file for the scores of the made films")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
