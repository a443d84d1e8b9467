"""Codes of training pictures, drawn and encoded once and kept on disk."""

from __future__ import annotations

import hashlib
import logging
import random
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from adapters.llamagen.vq import VQModel
from adapters.llamagen.vq_checkpoints import WEIGHTS, load_vq
from adapters.tiny.stored import Make, stored_rows
from adapters.tiny.world.prompts import prompt_scene
from adapters.tiny.world.scene import HELD_OUT, Scene

from .pictures import PATCH, SIDE, image_scene, picture_array

log = logging.getLogger(__name__)

FIRST_SEED = 70_000_000
_SCENE_SEEDS = 9 * HELD_OUT
_ROWS = 256
_ENCODED_AT_ONCE = 32


def code_scene(index: int, *, held_out: bool = False) -> Scene:
    """Scene number `index`: every second one may hold things that are partly alike."""
    seed = FIRST_SEED + index
    if index % 2:
        return prompt_scene(random.Random(_SCENE_SEEDS + seed + HELD_OUT * held_out))
    return image_scene(seed, held_out=held_out)


def picture_codes(model: VQModel, scenes: list[Scene], side: int = SIDE) -> np.ndarray:
    """Codes of scenes as the tokenizer sees their pictures, ``(scenes, cells)`` int16.

    Args:
        model: The tokenizer.
        scenes: What to draw.
        side: Pixels; smaller pictures are means of areas of the 64 x 64 ones.
    """
    arrays = np.stack([picture_array(scene) for scene in scenes])
    pixels = torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        if side != SIDE:
            pixels = functional.interpolate(pixels, (side, side), mode="area")
        codes = model.encode(pixels, chunk=_ENCODED_AT_ONCE)
    return codes.flatten(1).numpy().astype(np.int16)


def stored_codes(
    tokenizer: Path, work: Path, count: int, *, held_out: bool = False, side: int = SIDE
) -> np.ndarray:
    """Codes of scenes 0 to `count`, read from `work` as far as they are there, else made.

    Args:
        tokenizer: Folder of the image tokenizer; other weights have other files.
        work: Where the codes are kept; rows are appended, so a killed run goes on.
        count: Number of pictures.
        held_out: Pictures of the held-out set.
        side: Pixels of the pictures.

    Returns:
        ``(count, cells)`` int16.
    """
    mark = hashlib.sha256((tokenizer / WEIGHTS).read_bytes()).hexdigest()[:12]
    size = "" if side == SIDE else f"{side}-"
    path = work / f"codes-{size}{'held-out' if held_out else 'training'}-{mark}.bin"
    cells = (side // PATCH) ** 2

    def prepare() -> Make:
        model = load_vq(tokenizer).float()

        def make(start: int, stop: int) -> np.ndarray:
            scenes = [code_scene(index, held_out=held_out) for index in range(start, stop)]
            return picture_codes(model, scenes, side)

        return make

    return np.array(stored_rows(path, (cells,), count, prepare, _ROWS, np.int16))
