"""The small world's judge as a reward: how much of a prompt a picture shows."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from adapters.tiny.images.judge import Judge, load_judge
from adapters.tiny.world.motion_prompts import MotionWish, parse_motion_prompt

from .judging import FrameReading, matched, questions, read_frames

# The blocks of a film are scored under one prompt.
_wishes = lru_cache(maxsize=64)(parse_motion_prompt)


class JudgeReward:
    """A :class:`~video_ar.rewards.protocol.FrameScorer`; sees single frames, hence no motion.

    The score of a frame lies between 0 and 1: the share of right answers to what the prompt says
    of shapes, colours, sizes and the background, and to how many things there are.

    Args:
        judge: Reads pictures of 64 x 64 pixels.
    """

    name = "judge"
    needs_prompt = True
    context = 0
    # A block stays if its worst picture answers at least so many questions right.
    default_threshold = 0.5

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @torch.inference_mode()
    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """Scores ``(F,)`` float32 of ``frames`` ``(F, 3, 64, 64)`` in [0, 1].

        Raises:
            ValueError: A prompt outside the world's grammar, or frames of another size.
        """
        asked = _wishes(prompt)
        if frames.shape[-2:] != (64, 64):
            raise ValueError(
                f"the judge reads pictures of 64 x 64 pixels, got {frames.shape[-1]} x "
                f"{frames.shape[-2]}; use another reward"
            )
        readings = read_frames(self.judge, frames.float().clamp(0, 1).cpu())
        shares = [_share(asked, reading) for reading in readings]
        return torch.tensor(shares, device=frames.device)


def load_reward(device: str | torch.device = "cpu") -> JudgeReward:
    """The judge that comes with the package; it reads on the CPU, whatever the device."""
    return JudgeReward(load_judge())


def _share(asked: MotionWish, reading: FrameReading) -> float:
    """Share of right answers about one frame."""
    answers = [len(reading.sightings) == len(asked.wish.things)]
    if asked.wish.background is not None:
        answers.append(reading.background == asked.wish.background)
    for thing, seen in zip(asked.wish.things, matched(asked, reading), strict=True):
        answers += questions(thing, seen)
    return sum(answers) / len(answers)
