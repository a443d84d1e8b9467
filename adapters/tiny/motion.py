"""What moves where: a linear head that teaches image tokens to look back at earlier frames.

Captions alone teach motion slowly, because few of their words depend on it. The head reads, half
way up the language model, how the thing under each patch has moved. It is thrown away afterwards.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from .captioner import language_states, word_loss
from .data import Batch
from .model import IMAGE, PATCHES
from .tower import covered_patches
from .world.clips import Clip
from .world.vocabulary import MOTIONS

LAYER = 8
WEIGHT = 0.5
_SKIP = -100


class MotionReader(nn.Module):
    """A captioner with a linear motion head on its middle layer."""

    def __init__(self, captioner: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.captioner = captioner
        width = captioner.config.text_config.hidden_size
        self.heads = nn.ModuleDict({"motion": nn.Linear(width, len(MOTIONS))})

    def forward(self, batch: Batch, motions: torch.Tensor | None) -> torch.Tensor:
        """Return the caption loss, plus the motion loss where there are motions (all patches)."""
        states = language_states(self.captioner, batch, train_tower=True)
        loss = word_loss(self.captioner, batch, states[-1])
        if motions is None:
            return loss
        logits = self.heads["motion"](states[LAYER][batch.ids == IMAGE])
        return loss + WEIGHT * functional.cross_entropy(logits.float(), motions)


def motion_labels(clip: Clip, frames: int) -> np.ndarray:
    """Motion of the thing under each patch of each frame; the first frame and bare patches skip."""
    labels = np.full((frames, PATCHES), _SKIP)
    for frame in range(1, frames):
        centres = clip.centres(frame / (frames - 1))
        for motion, (x, y) in zip(clip.motions, centres, strict=True):
            labels[frame, covered_patches(x, y).reshape(-1)] = MOTIONS.index(motion)
    return labels.reshape(-1)
