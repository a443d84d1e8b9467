"""Scorers on transformers' CLIP: cosine of picture and text, at the scale of their makers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from video_ar.rewards.preparation import crop_square, normalised, pad_square
from video_ar.rewards.prompts import PromptWindow
from video_ar.rewards.weight_files import load_pretrained

PICKSCORE = "yuvalkirstain/PickScore_v1"
# Tokenizer of the CLIP-H that PickScore and HPSv2 grew from.
CLIP_H = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
Fit = Literal["crop", "pad"]
_FITS: dict[str, Callable[[Tensor, int], Tensor]] = {"crop": crop_square, "pad": pad_square}


class ClipScorer:
    """``scale * cos(picture, text)`` of every frame; a scorer of single frames.

    Args:
        model: A ``CLIPModel``; comes to eval mode.
        tokenizer: Its own.
        name: Of the scorer, weights included: calibrations are kept under it.
        scale: Factor of the cosine.
        fit: ``crop`` sees the middle square of a frame, ``pad`` all of it with black bars.

    Raises:
        ValueError: An unknown ``fit``.
    """

    needs_prompt = True
    context = 0

    def __init__(
        self, model: Any, tokenizer: Any, name: str, scale: float = 1.0, fit: Fit = "crop"
    ) -> None:
        if fit not in _FITS:
            raise ValueError(f"unknown fit {fit!r}; choose from {', '.join(_FITS)}")
        self.model, self.name, self.scale, self.fit = model.eval(), name, scale, fit
        window = model.config.text_config.max_position_embeddings
        self._prompt = PromptWindow(tokenizer, window, name)

    @torch.inference_mode()
    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """Scores ``(F,)`` float32; the first prompt that is cut is warned of."""
        ids, mask = self._prompt(prompt, self.model.device)
        text = self.model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        pictures = picture_features(self.model, frames, self.fit)
        return self.scale * (pictures @ F.normalize(text.float(), dim=-1).squeeze(0))


def picture_features(model: Any, frames: Tensor, fit: Fit = "crop") -> Tensor:
    """Unit vectors ``(F, dim)`` float32 of frames ``(F, 3, H, W)`` in [0, 1]."""
    side = model.config.vision_config.image_size
    pixels = normalised(_FITS[fit](frames.to(model.device), side)).to(model.dtype)
    found: Tensor = model.get_image_features(pixel_values=pixels).pooler_output
    return F.normalize(found.float(), dim=-1)


def load_clip(
    source: str | Path,
    tokenizer: Any = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ClipScorer:
    """The plain cosine, in [-1, 1], of any CLIP.

    Args:
        source: Folder or name of a ``CLIPModel`` in safetensors.
        tokenizer: Its tokenizer, or the folder or name of one; None takes that of ``source``.
        device: Where to score.
        dtype: Of both towers.

    Raises:
        ValueError: It cannot be loaded.
    """
    model, tokenizer = _load(source, tokenizer, dtype, "CLIP")
    return ClipScorer(model.to(device), tokenizer, f"clip:{source}")


def load_pickscore(
    source: str | Path = PICKSCORE,
    tokenizer: Any = CLIP_H,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ClipScorer:
    """PickScore (Kirstain et al., arXiv 2305.01569): the cosine at the model's own scale.

    Args:
        source: Folder or name of its ``CLIPModel`` in safetensors.
        tokenizer: Its tokenizer, or the folder or name of one.
        device: Where to score.
        dtype: Of both towers.

    Raises:
        ValueError: It cannot be loaded.
    """
    model, tokenizer = _load(source, tokenizer, dtype, "PickScore")
    scale = float(model.logit_scale.float().exp())
    return ClipScorer(model.to(device), tokenizer, "pickscore", scale)


def _load(source: str | Path, tokenizer: Any, dtype: torch.dtype, scorer: str) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, CLIPModel

    model = load_pretrained(CLIPModel, source, scorer, dtype=dtype, use_safetensors=True)
    if tokenizer is None or isinstance(tokenizer, str | Path):
        tokenizer = load_pretrained(AutoTokenizer, tokenizer or source, scorer)
    return model.requires_grad_(False), tokenizer
