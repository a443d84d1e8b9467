"""What a scorer of frames is, and how one is asked for a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class FrameScorer(Protocol):
    """Gives every frame a number; larger is better. Deterministic, and on any device."""

    @property
    def name(self) -> str:
        """Identifies the scale: calibrations are kept under it."""

    @property
    def needs_prompt(self) -> bool:
        """Whether the prompt changes the scores."""

    @property
    def context(self) -> int:
        """How many frames before a frame its score can depend on; 0 scores frames one by one."""

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """Scores ``(F,)`` of consecutive ``frames`` ``(F, 3, H, W)`` in [0, 1]; changes neither."""


def score_frames(
    scorer: FrameScorer,
    frames: Tensor,
    prompt: str,
    before: Tensor | None = None,
    which: Sequence[int] | None = None,
) -> Tensor:
    """Scores of a block's frames, or of some of them, in one call of the scorer.

    Args:
        scorer: Not changed.
        frames: ``(F, 3, H, W)`` in [0, 1], the block.
        prompt: What the video should show.
        before: ``(P, 3, H, W)``, frames right before the block; the last ``context`` are used. A
            scorer that looks back sees less where there are fewer.
        which: Indices to score; None scores all. A scorer that looks back sees all frames anyway.

    Returns:
        ``(len(which),)`` float32 on the device of the scores.

    Raises:
        ValueError: Frames of another shape, or a scorer that returns another shape.
    """
    _check_frames(frames, "frames")
    places = list(range(len(frames))) if which is None else list(which)
    lead = 0
    if scorer.context == 0:
        shown = frames if which is None else frames[places]
    else:
        shown = frames
        if before is not None and len(before):
            _check_frames(before, "before")
            context = before[-scorer.context :].to(frames)
            lead, shown = len(context), torch.cat([context, frames])
    scores = scorer.score(shown, prompt)
    if scores.shape != (len(shown),):
        raise ValueError(
            f"scorer '{scorer.name}' must give one score for each of {len(shown)} frames, got "
            f"shape {tuple(scores.shape)}"
        )
    if scorer.context:
        scores = scores[[lead + place for place in places]]
    return scores.float()


def _check_frames(frames: Tensor, name: str) -> None:
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
        raise ValueError(
            f"{name} must be floating-point (F, 3, H, W) in [0, 1], got {frames.dtype} "
            f"{tuple(frames.shape)}"
        )
