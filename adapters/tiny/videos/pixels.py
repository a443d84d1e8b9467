"""Films as the video models see them: tensors of pixels between -1 and 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from adapters.tiny.world.films import FILM_FRAMES, Film, film_array


def film_pixels(films: Sequence[Film], frames: int = FILM_FRAMES) -> Tensor:
    """The first frames of films, ``(films, 3, frames, 64, 64)`` in [-1, 1]."""
    arrays = np.stack([film_array(film, frames=frames) for film in films])
    return torch.from_numpy(arrays).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def cut_pixels(films: Sequence[Film], starts: Sequence[int], frames: int) -> Tensor:
    """Consecutive frames of films, each from a start of its own, ``(films, 3, frames, 64, 64)``."""
    pieces = [
        film_pixels([film], start + frames)[:, :, start:]
        for film, start in zip(films, starts, strict=True)
    ]
    return torch.cat(pieces)
