"""How well the video autoencoder keeps films."""

from __future__ import annotations

import math
from typing import Any

import torch

from adapters.tiny.images.judge import load_judge
from adapters.tiny.world.films import film_from_seed
from adapters.tiny.world.motion_prompts import MotionWish
from adapters.tiny.world.wishes import Wish, WishedThing
from adapters.wan.vae import WanVae

from .judging import matched, questions, read_frames
from .pixels import film_pixels

FILMS = 16
_EVERY = 4  # the judge reads one frame in so many


@torch.inference_mode()
def vae_scores(vae: Any, films: int = FILMS, encoder: Any | None = None) -> dict[str, float]:
    """Scores on held-out films, decoded from the means of their latents.

    Args:
        vae: An ``AutoencoderKLWan`` whose config holds the scale of its latents.
        films: Their number.
        encoder: Another one that makes the latents; the same by default.

    Returns:
        ``psnr`` in dB, over all pixels; ``judge_true`` and ``judge``, the share of looks (shape,
        colour, size) that the judge reads right in the films themselves and in what is decoded.
    """
    stream, source = WanVae(vae), WanVae(encoder or vae)
    errors: list[float] = []
    right: dict[str, list[bool]] = {"judge_true": [], "judge": []}
    judge = load_judge()
    for seed in range(films):
        film = film_from_seed(seed, held_out=True)
        pixels = film_pixels([film])
        decoded, _ = stream.decode(source.encode(pixels)[0])
        errors.append(float((decoded - pixels).div(2).square().mean()))
        things = [WishedThing(t.shape, t.colour, t.size) for t in film.scene.things]
        asked = MotionWish(Wish(tuple(things)), film.motions)
        for name, video in (("judge_true", pixels), ("judge", decoded)):
            frames = video[0, :, ::_EVERY].transpose(0, 1).add(1).div(2)
            for reading in read_frames(judge, frames):
                found = matched(asked, reading)
                for thing, seen in zip(asked.wish.things, found, strict=True):
                    right[name] += questions(thing, seen)
    mean = sum(errors) / len(errors)
    shares = {name: sum(answers) / len(answers) for name, answers in right.items()}
    psnr = -10 * math.log10(max(mean, 1e-10))
    return {"psnr": round(psnr, 2), **{name: round(value, 4) for name, value in shares.items()}}
