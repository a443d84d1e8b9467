"""First stage: the vision tower learns to read each patch, with linear heads thrown away later."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionModel

from .model import IMAGE_SIZE, PATCH
from .run import Stage, train
from .world.clips import clip_from_seed
from .world.render import render, render_clip
from .world.scene import GRID, Thing, scene_from_seed
from .world.vocabulary import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES

STAGE = Stage("tower", steps=1300, rate=2e-3)
BATCH = 64
CLIP_SHARE = 0.25
_ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "texture": TEXTURES}
_SIDE = IMAGE_SIZE // PATCH


class PatchReader(nn.Module):
    """A tower with a linear head for each attribute of the thing a patch belongs to."""

    def __init__(self, tower: CLIPVisionModel) -> None:
        super().__init__()
        width = tower.config.hidden_size
        self.tower = tower
        # The class after the last attribute value stands for "no thing here".
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, len(values) + 1) for name, values in _ATTRIBUTES.items()}
        )
        self.heads["background"] = nn.Linear(width, len(BACKGROUNDS))

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return logits (batch, patches, values) for each attribute."""
        states = self.tower(pixels).last_hidden_state[:, 1:]
        return {name: head(states) for name, head in self.heads.items()}


def to_pixels(images: list[np.ndarray]) -> torch.Tensor:
    """Stack 8-bit pictures as the processor would: (images, 3, 96, 96) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.float().div_(127.5).sub_(1)


def covered_patches(x: float, y: float) -> np.ndarray:
    """Mask (rows, columns) of patches whose middle lies in the cell-sized box around a point."""
    middles = (np.arange(_SIDE) + 0.5) / _SIDE
    rows, columns = np.abs(middles - y) <= 0.5 / GRID, np.abs(middles - x) <= 0.5 / GRID
    return rows[:, None] & columns[None, :]


def patch_labels(
    things: tuple[Thing, ...], centres: list[tuple[float, float]], background: str
) -> dict[str, np.ndarray]:
    """Label each patch with the attributes of the thing whose cell-sized box holds its middle."""
    labels = {name: np.full((_SIDE, _SIDE), len(v)) for name, v in _ATTRIBUTES.items()}
    for thing, (x, y) in zip(things, centres, strict=True):
        inside = covered_patches(x, y)
        for name, values in _ATTRIBUTES.items():
            labels[name][inside] = values.index(getattr(thing, name))
    labels["background"] = np.full((_SIDE, _SIDE), BACKGROUNDS.index(background))
    return {name: grid.reshape(-1) for name, grid in labels.items()}


def tower_batch(step: int, batch: int = BATCH) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Render the pictures of a step, a quarter of them frames of clips, with their labels."""
    images, labels = [], []
    for index in range(step * batch, (step + 1) * batch):
        rng = random.Random(index)
        if rng.random() < CLIP_SHARE:
            clip = clip_from_seed(index)
            frame = rng.randrange(8)
            image, scene, centres = render_clip(clip)[frame], clip.scene, clip.centres(frame / 7)
        else:
            scene = scene_from_seed(index)
            image = render(scene)
            centres = [((t.column + 0.5) / GRID, (t.row + 0.5) / GRID) for t in scene.things]
        images.append(np.asarray(image))
        labels.append(patch_labels(scene.things, centres, scene.background))
    stacked = {
        name: torch.from_numpy(np.stack([row[name] for row in labels])) for name in labels[0]
    }
    return to_pixels(images), stacked


def tower_loss(logits: dict[str, torch.Tensor], labels: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross entropy over patches and heads."""
    losses = [
        functional.cross_entropy(logits[name].flatten(0, 1), labels[name].flatten())
        for name in labels
    ]
    return torch.stack(losses).mean()


def patch_accuracy(reader: PatchReader, batches: int = 4) -> dict[str, float]:
    """Accuracy of each head on patches that hold a thing, on pictures training never draws."""
    right: dict[str, list[float]] = {}
    with torch.inference_mode():
        for step in range(batches):
            pixels, labels = tower_batch(10_000_000 + step)
            held = labels["shape"] < len(SHAPES)
            for name, logits in reader(pixels).items():
                hit = (logits.argmax(-1) == labels[name])[held].float().mean()
                right.setdefault(name, []).append(round(float(hit), 4))
    return {name: sum(values) / len(values) for name, values in right.items()}


def train_tower(tower: CLIPVisionModel, folder: Path, stage: Stage = STAGE) -> dict[str, float]:
    """Train the tower in place and return the accuracy of its heads on unseen pictures."""
    torch.manual_seed(1)
    reader = PatchReader(tower)

    def step_loss(step: int) -> torch.Tensor:
        pixels, labels = tower_batch(step)
        return tower_loss(reader(pixels), labels)

    train(stage, reader, step_loss, folder)
    return patch_accuracy(reader)
