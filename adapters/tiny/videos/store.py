"""Latents of training films, encoded once and kept on disk."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adapters.tiny.stored import Make, stored_rows
from adapters.tiny.world.films import Film, film_from_seed
from adapters.tiny.world.motion_prompts import write_motion_prompt
from adapters.wan.checkpoints import WEIGHTS, load_vae
from adapters.wan.vae import WanVae
from video_ar.schedule import pixel_frames

from .pixels import film_pixels
from .vae_shape import CHANNELS, GRID_SIDE
from .wan_shape import BLOCK_FRAMES, BLOCKS

FIRST_SEED = 90_000_000
_APART = 1_000_000


@dataclass(frozen=True, slots=True)
class FilmData:
    """Normalised latents of films, and prompts written anew whenever a film comes round.

    Attributes:
        latents: ``(films, channels, frames, 8, 8)`` float16.
        held_out: Which set the films are of.
        first: Seed of the first film.
    """

    latents: np.ndarray
    held_out: bool
    first: int

    def rows(self, step: int, rows: int) -> tuple[Tensor, list[Film]]:
        """Latents and films of a step; a function of the step alone."""
        index = [number % len(self.latents) for number in range(step * rows, (step + 1) * rows)]
        films = [film_from_seed(self.first + i, held_out=self.held_out) for i in index]
        return torch.from_numpy(self.latents[index]).float(), films

    def batch(self, step: int, rows: int) -> tuple[Tensor, list[str]]:
        """Latents and prompts of a step; a function of the step alone."""
        latents, films = self.rows(step, rows)
        rng = random.Random(step)
        return latents, [write_motion_prompt(film, rng) for film in films]


def stored_films(
    vae: Path, work: Path, count: int, *, held_out: bool = False, blocks: int = BLOCKS
) -> FilmData:
    """Latents of `count` films, read from `work` as far as they are there, else made.

    Films cut to a number of blocks have seeds of their own.

    Args:
        vae: Folder of the autoencoder; other weights have other files.
        work: Where the latents are kept; films are appended, so a killed run goes on.
        count: Number of films.
        held_out: Films of the held-out set.
        blocks: How much of each film, from its start.
    """
    shape = (CHANNELS, BLOCK_FRAMES * blocks, GRID_SIDE, GRID_SIDE)
    frames, first = pixel_frames(shape[1]), FIRST_SEED + (BLOCKS - blocks) * _APART
    mark = hashlib.sha256((vae / WEIGHTS).read_bytes()).hexdigest()[:12]
    path = work / f"films-{'held-out' if held_out else 'training'}-{blocks}-{mark}.bin"

    def prepare() -> Make:
        model = WanVae(load_vae(vae, torch.float32))

        def make(start: int, stop: int) -> np.ndarray:
            films = [film_from_seed(first + i, held_out=held_out) for i in range(start, stop)]
            latents, _ = model.encode(film_pixels(films, frames))
            return latents.numpy()

        return make

    stored = stored_rows(path, shape, count, prepare)
    return FilmData(stored, held_out, first)
