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
from tqdm import tqdm

from adapters.mar.checkpoints import WEIGHTS
from adapters.mar.loading import MODEL
from adapters.mar.target import LatentImageTarget
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
    work.mkdir(parents=True, exist_ok=True)
    shape = (target.config.rows * target.config.columns, target.config.token_width)
    size = 2 * shape[0] * shape[1]
    labels = [number % target.config.classes for number in range(count)]
    done = path.stat().st_size // size if path.exists() else 0
    if done < count:
        engine, parameters = Engine(target, rule=Own()), target.parameters({})
        first = FIRST_SEED + _APART * held_out
        with path.open("r+b" if path.exists() else "wb") as file:
            # A kill can leave part of a picture.
            file.truncate(done * size)
            file.seek(0, 2)
            for start in tqdm(range(done, count, _ROWS), "drawings", mininterval=5):
                request = target.request(None, labels[start : start + _ROWS], parameters)
                seeds = range(first + start, first + start + request.rows)
                vectors, _ = engine.generate(request, seeds=seeds)
                file.write(np.array(vectors, dtype=np.float16).tobytes())
    means = np.memmap(path, dtype=np.float16, mode="r", shape=(count, *shape))
    return LatentData(np.stack([means, np.zeros_like(means)], 1), torch.tensor(labels))
