"""Pictures that the target draws itself, kept on disk: what a draft is told when it drafts.

A target's own pictures are not quite those it was trained on. A draft that knows true pictures
alone is surprised where it matters: its vectors of things end a third farther from the target's
than they do on true pictures.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from adapters.mar.checkpoints import WEIGHTS
from adapters.mar.loading import MODEL
from adapters.mar.target import LatentImageTarget
from adapters.tiny.stored import Make, stored_rows
from image_ar.continuous.rules import Own
from mmspec.engine import Engine

from .store import LatentData

FIRST_SEED = 95_000_000
_APART = 1_000_000
_ROWS = 96


def stored_drawings(
    target: LatentImageTarget, folder: Path, work: Path, count: int, *, held_out: bool = False
) -> LatentData:
    """Pictures of all classes in turn, read from `work` as far as they are there, else drawn.

    Args:
        target: Draws as its defaults say.
        folder: It was loaded from; other weights have other files.
        work: Where the pictures are kept; they are appended, so a killed run goes on.
        count: Number of pictures.
        held_out: Pictures along other noise.
    """
    mark = hashlib.sha256((folder / MODEL / WEIGHTS).read_bytes()).hexdigest()[:12]
    path = work / f"drawings-{'held-out' if held_out else 'training'}-{mark}.bin"
    shape = (target.config.rows * target.config.columns, target.config.token_width)
    labels = [number % target.config.classes for number in range(count)]
    first = FIRST_SEED + _APART * held_out

    def prepare() -> Make:
        engine, parameters = Engine(target, rule=Own()), target.parameters({})

        def make(start: int, stop: int) -> np.ndarray:
            request = target.request(None, labels[start:stop], parameters)
            vectors, _ = engine.generate(request, seeds=range(first + start, first + stop))
            return np.array(vectors)

        return make

    means = stored_rows(path, shape, count, prepare, _ROWS)
    return LatentData(np.stack([means, np.zeros_like(means)], 1), torch.tensor(labels))
