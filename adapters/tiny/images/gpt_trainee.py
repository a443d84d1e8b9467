"""What the embedded image transformers learn from: batches, losses, and probes that help."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from adapters.llamagen.conditioning import left_padded
from adapters.llamagen.gpt import GPT
from adapters.tiny.world.prompts import write_prompt
from adapters.tiny.world.scene import GRID, Scene
from adapters.tiny.world.vocabulary import BACKGROUNDS

from .codes import code_scene
from .fast_pass import training_pass
from .gpt_shape import class_of
from .pictures import CELL, SIDE
from .text_encoder import encode, tokenize
from .text_labels import LOOKS, NOTHING, scene_looks

DROPPED = 0.1
# Two codes of three lie on flat background and are soon known.
FLAT_WEIGHT = 0.25
PROBE_WEIGHT = 0.3
# The layers whose streams are asked where they are, and what lies there.
_PLACE_LAYER, _LOOKS_LAYER = 1, 3


@dataclass(frozen=True, slots=True)
class CodeBatch:
    """Pictures of a step.

    Attributes:
        codes: ``(rows, cells)``.
        inputs: What the transformer is conditioned on.
        drop: ``(rows,)`` bool, rows without condition.
        looks: ``(rows, cells, 4)`` looks of the thing in the place that a code lies in.
        scene: ``(rows, 9, 4)`` looks of the thing in each place.
        tones: ``(rows,)`` background.
    """

    codes: Tensor
    inputs: dict[str, Any]
    drop: Tensor
    looks: Tensor
    scene: Tensor
    tones: Tensor


class Texts:
    """The text encoder with its tokenizer, for many prompts at a time.

    Args:
        encoder: Has no dropout.
        tokenizer: Its tokenizer.
        learns: Whether gradients flow into it.
    """

    def __init__(
        self, encoder: T5EncoderModel, tokenizer: PreTrainedTokenizerFast, learns: bool = False
    ) -> None:
        self.encoder, self.tokenizer = encoder.eval().requires_grad_(learns), tokenizer
        self.learns = learns

    def __call__(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """``caption`` and ``caption_mask``, left-padded."""
        ids, mask = tokenize(self.tokenizer, prompts)
        with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()):
            caption, caption_mask = left_padded(encode(self.encoder, ids, mask), mask)
        return {"caption": caption, "caption_mask": caption_mask}


@dataclass(frozen=True, slots=True)
class CodeData:
    """Stored codes and what goes with them.

    Attributes:
        codes: ``(pictures, cells)``.
        texts: The text encoder; None for a model of classes.
        held_out: Whether the pictures are of the held-out set.
    """

    codes: np.ndarray
    texts: Texts | None
    held_out: bool = False

    def batch(self, step: int, rows: int, dropped: float = DROPPED) -> CodeBatch:
        """Pictures of a step; every time a picture comes round it has a new prompt."""
        count = len(self.codes)
        turns = range(step * rows, (step + 1) * rows)
        scenes = [code_scene(turn % count, held_out=self.held_out) for turn in turns]
        codes = torch.from_numpy(self.codes[[turn % count for turn in turns]]).long()
        generator = torch.Generator().manual_seed(step)
        looks = torch.stack([scene_looks(scene) for scene in scenes])
        return CodeBatch(
            codes=codes,
            inputs=self._inputs(scenes, turns),
            drop=torch.rand(rows, generator=generator) < dropped,
            looks=looks[:, _cells_of_codes(isqrt(codes.shape[1]))],
            scene=looks,
            tones=torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes]),
        )

    def _inputs(self, scenes: list[Scene], turns: range) -> dict[str, Any]:
        if self.texts is None:
            return {"labels": torch.tensor([class_of(scene) for scene in scenes])}
        prompts = [
            write_prompt(scene, random.Random(turn))
            for scene, turn in zip(scenes, turns, strict=True)
        ]
        return dict(self.texts(prompts))


class Trainee(nn.Module):
    """A transformer, and linear heads that ask its streams where they are and what lies there.

    LlamaGen knows a code's place by rotations alone and reads its condition as one sum: where am I
    and what belongs here are the two things it has to find out before it can draw. Asking for them
    half-way makes it find them out early; asking the last position of the condition for the whole
    scene makes it read. The heads are thrown away.

    Args:
        gpt: The transformer.
        encoder: The text encoder, where it learns along.
    """

    def __init__(self, gpt: GPT, encoder: T5EncoderModel | None = None) -> None:
        super().__init__()
        self.gpt, self.text_encoder = gpt, encoder
        width = gpt.config.dim
        self.place_heads = nn.Linear(width, 2 * gpt.config.grid)
        self.looks_heads = nn.ModuleDict(
            {look: nn.Linear(width, len(names) + 1) for look, names in LOOKS.items()}
        )
        self.plan_heads = nn.ModuleDict(
            {look: nn.Linear(width, GRID**2 * (len(names) + 1)) for look, names in LOOKS.items()}
        )
        self.tone_heads = nn.Linear(width, len(BACKGROUNDS))

    def forward(self, batch: CodeBatch, *, probe: bool) -> Tensor:
        """Loss of a batch: with `probe` the lessons above and background codes weighted less."""
        out = training_pass(self.gpt, batch.codes, batch.inputs, batch.drop)
        loss = F.cross_entropy(out.logits.flatten(0, 1), batch.codes.flatten(), reduction="none")
        if not probe:
            return loss.mean()
        flat = batch.codes == batch.codes.mode(dim=1, keepdim=True).values
        weights = torch.where(flat, FLAT_WEIGHT, 1.0).flatten()
        lessons = self._place_loss(out.streams[_PLACE_LAYER])
        middle = min(_LOOKS_LAYER, len(out.streams) // 2)
        lessons = lessons + self._looks_loss(out.streams[middle], batch)
        lessons = lessons + self._plan_loss(out.streams[middle][:, 0], batch)
        return (loss * weights).sum() / weights.sum() + PROBE_WEIGHT * lessons

    def _place_loss(self, stream: Tensor) -> Tensor:
        side = self.gpt.config.grid
        answers = self.place_heads(_normed(stream)).unflatten(-1, (2, side)).float()
        labels = _rows_and_columns(side).expand(len(stream), -1, -1)
        return F.cross_entropy(answers.flatten(0, 2), labels.flatten())

    def _looks_loss(self, stream: Tensor, batch: CodeBatch) -> Tensor:
        """Which of a look's names, or nothing at all; rows without condition are not asked."""
        asked = _normed(stream[~batch.drop])
        total = torch.zeros(())
        for index, (look, names) in enumerate(LOOKS.items()):
            labels = _names(batch.looks[~batch.drop][..., index], len(names))
            answers = self.looks_heads[look](asked).float()
            total = total + F.cross_entropy(answers.flatten(0, 1), labels.flatten())
        return total

    def _plan_loss(self, stream: Tensor, batch: CodeBatch) -> Tensor:
        """The whole scene, asked of the position that draws the first code ``(rows, dim)``."""
        asked = _normed(stream[~batch.drop])
        total = F.cross_entropy(self.tone_heads(asked).float(), batch.tones[~batch.drop])
        for index, (look, names) in enumerate(LOOKS.items()):
            labels = _names(batch.scene[~batch.drop][..., index], len(names))
            answers = self.plan_heads[look](asked).float().unflatten(-1, (GRID**2, -1))
            total = total + F.cross_entropy(answers.flatten(0, 1), labels.flatten())
        return total


@torch.inference_mode()
def held_out_loss(gpt: GPT, data: CodeData, rows: int) -> dict[str, float]:
    """Nats per code with the condition: over all codes, and over those off the background."""
    total, things = [], []
    for step in range(len(data.codes) // rows):
        batch = data.batch(step, rows, dropped=0.0)
        with torch.autocast("cpu", torch.bfloat16):
            logits = training_pass(gpt, batch.codes, batch.inputs).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch.codes.flatten(), reduction="none")
        flat = batch.codes == batch.codes.mode(dim=1, keepdim=True).values
        total.append(loss)
        things.append(loss[~flat.flatten()])
    return {
        "loss": round(torch.cat(total).mean().item(), 4),
        "loss_things": round(torch.cat(things).mean().item(), 4),
    }


def _names(labels: Tensor, count: int) -> Tensor:
    """Labels of a look's names; one more stands for nothing at all."""
    return torch.where(labels == NOTHING, count, labels)


def _normed(stream: Tensor) -> Tensor:
    return F.rms_norm(stream.float(), stream.shape[-1:])


def _rows_and_columns(side: int) -> Tensor:
    """Row and column of each code of a grid of `side` rows, ``(cells, 2)``."""
    index = torch.arange(side**2)
    return torch.stack([index // side, index % side], -1)


def _cells_of_codes(side: int) -> Tensor:
    """The place of the scene, 0 to 8, that the middle of each code lies in, ``(cells,)``."""
    patch = SIDE // side
    middles = _rows_and_columns(side) * patch + patch // 2
    place = (middles // CELL).clamp(max=GRID - 1)
    return place[:, 0] * GRID + place[:, 1]
