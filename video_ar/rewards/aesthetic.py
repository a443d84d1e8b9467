"""The LAION aesthetic predictor: how much people like a picture, whatever the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from video_ar.rewards.clip import picture_features
from video_ar.rewards.head import LinearHead
from video_ar.rewards.weight_files import fill, load_pretrained, read_weights

_CLIP_L = "openai/clip-vit-large-patch14"


class Aesthetic:
    """A linear head on the unit vector of a frame; sees the middle square, scores about 1 to 10.

    Args:
        model: The ``CLIPModel`` that the head was trained on; comes to eval mode.
        head: In float32.
    """

    name = "laion-aesthetic"
    needs_prompt = False
    context = 0

    def __init__(self, model: Any, head: LinearHead) -> None:
        self.model, self.head = model.eval(), head.eval()

    @torch.inference_mode()
    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """Scores ``(F,)`` float32; the prompt does not count."""
        scores: Tensor = self.head(picture_features(self.model, frames))
        return scores


def load_aesthetic(
    path: str | Path,
    clip: Any = _CLIP_L,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Aesthetic:
    """A scorer from ``sac+logos+ava1-l14-linearMSE.pth`` and CLIP ViT-L/14.

    Args:
        path: The file of the head.
        clip: The ``CLIPModel``, its folder or its name.
        device: Where to score.
        dtype: Of CLIP; the head stays in float32.

    Raises:
        ValueError: Weights that are missing or do not fit.
    """
    from transformers import CLIPModel

    weights = read_weights(path, "the aesthetic predictor")
    if isinstance(clip, str | Path):
        clip = load_pretrained(
            CLIPModel, clip, "the aesthetic predictor", dtype=dtype, use_safetensors=True
        )
    with torch.device("meta"):
        head = LinearHead(clip.config.projection_dim)
    fill(head, weights, str(path))
    return Aesthetic(clip.to(device, dtype), head.to(device, torch.float32))
