r"""Train the embedded video autoencoder: the first one's latents, drawn in a third of the time.

Usage: python -m adapters.tiny.videos.train_quick_vae --out adapters/tiny/weights/wan/vae \
           --teacher runs/wan/first-vae
The decoder learns from stored latents of the first autoencoder, which are what the transformers
make; the encoder learns to give those latents. A killed run continues where its last checkpoint
left off when started again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.tiny.images.train_vq import picture_loss
from adapters.tiny.run import Stage, train
from adapters.wan.checkpoints import load_vae, save_folder
from adapters.wan.vae import WanVae
from video_ar.schedule import pixel_frames

from .pixels import film_pixels
from .store import FilmData, stored_films
from .vae_card import write_vae_card
from .vae_scores import vae_scores
from .vae_shape import CHANNELS, QUICK_SHAPE, build_vae, plain_vae

log = logging.getLogger(__name__)

QUICK = Stage("video-vae-quick", steps=3000, rate=5e-3, warmup=20, decay=0.6, save_every=100)
FILMS, OPENINGS = 1000, 16000
# First blocks of a step, cheap and each of another film; and a whole film every other step, since a
# decoder falls apart on more frames than it was trained on.
OPENING_ROWS, FILM_EVERY = 12, 2
# Most noise on latents, in deviations: the transformers' own are not perfect.
NOISE = 0.3
# First blocks of a step that the encoder learns from as well, and latent frames of the film.
ENCODED_ROWS, ENCODED_FRAMES = 4, 5
_SCORED_FILMS = 24


@dataclass(frozen=True)
class QuickLosses:
    """Losses of a step.

    Args:
        stream: The autoencoder under training.
        films: Latents of the teacher.
        openings: First blocks of other films.
    """

    stream: WanVae
    films: FilmData
    openings: FilmData

    def of(self, step: int) -> Tensor:
        """Of the whole step."""
        loss = self.part(self.openings, step, OPENING_ROWS, ENCODED_ROWS, None)
        if step % FILM_EVERY:
            return loss
        return loss + self.part(self.films, step // FILM_EVERY, 1, 1, ENCODED_FRAMES)

    def part(
        self, data: FilmData, step: int, rows: int, encoded: int, frames: int | None
    ) -> Tensor:
        """Distance of pictures from latents with noise, and of the encoder's latents from them.

        Args:
            data: Latents.
            step: Decides which.
            rows: Films to decode.
            encoded: Of them, how many to encode.
            frames: Latent frames to encode, from the start; None for all.
        """
        latents, films = data.rows(step, rows)
        pixels = film_pixels(films, pixel_frames(latents.shape[2]))
        generator = torch.Generator().manual_seed(step)
        level = NOISE * torch.rand(rows, 1, 1, 1, 1, generator=generator)
        noisy = latents + level * torch.randn(latents.shape, generator=generator)
        decoded = picture_loss(self.stream.unclamped(noisy)[0], pixels)
        wanted = latents[:encoded, :, :frames]
        posterior = self.stream.vae.encode(pixels[:encoded, :, : pixel_frames(wanted.shape[2])])
        found = self.stream.normalise(posterior.latent_dist.mean)
        return decoded + F.mse_loss(found, wanted)


def main(arguments: list[str] | None = None) -> None:
    """Train, save the folder, score it on held-out films and write its card."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    films = stored_films(options.teacher, options.latents, options.films)
    openings = stored_films(options.teacher, options.latents, options.openings, blocks=1)
    teacher = load_vae(options.teacher, torch.float32)
    mean, std = (torch.tensor(teacher.config[name]) for name in ("latents_mean", "latents_std"))
    torch.manual_seed(35)
    vae = build_vae(QUICK_SHAPE)
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    losses = QuickLosses(WanVae(vae, cells_at_once=sys.maxsize), films, openings)
    stage = replace(QUICK, steps=options.steps)
    train(stage, vae, losses.of, options.work)
    save_folder(plain_vae(vae, mean, std), options.out, torch.bfloat16)
    # Scores are those of the weights on disk, in the number format they are stored in.
    stored = load_vae(options.out, torch.float32)
    scores = vae_scores(stored, options.scored, teacher)
    own = vae_scores(stored, options.scored)
    log.info("held out: %s; with its own latents: %s", scores, own)
    parts = {
        "thousands": sum(parameter.numel() for parameter in vae.parameters()) / 1e3,
        "channels": CHANNELS,
        "openings": OPENING_ROWS,
        "film_every": FILM_EVERY,
        "encoded": ENCODED_ROWS,
        "noise": NOISE,
    }
    write_vae_card(options.out, options.work, [stage.name], scores, parts, options.threads, own)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--teacher", type=Path, required=True, help="the first autoencoder")
    parser.add_argument("--work", type=Path, default=Path("runs/quick-vae"), help="checkpoints")
    parser.add_argument("--latents", type=Path, default=Path("runs/films"), help="stored latents")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=QUICK.steps)
    parser.add_argument("--films", type=int, default=FILMS)
    parser.add_argument("--openings", type=int, default=OPENINGS, help="films cut to one block")
    parser.add_argument("--scored", type=int, default=_SCORED_FILMS, help="held-out films")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
