"""How well made videos show what was asked for: the numbers behind ``mmspec video --score``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from torch import Tensor

from adapters.tiny.images.judge import Judge, load_judge
from adapters.tiny.world.motion_prompts import parse_motion_prompt

from .evaluate import film_scores
from .judging import read_frames


def score_videos(prompts: Sequence[str], videos: Sequence[Tensor]) -> dict[str, float]:
    """Have the small world's judge read every frame, and compare it with what was asked.

    Args:
        prompts: One a video.
        videos: ``(frames, 3, 64, 64)`` each, in [0, 1].

    Returns:
        The scores of :func:`~adapters.tiny.videos.evaluate.film_scores`.

    Raises:
        ValueError: Prompts outside the world's grammar.
    """
    wishes = [parse_motion_prompt(prompt) for prompt in prompts]
    return film_scores(wishes, [read_frames(_judge(), video) for video in videos])


@lru_cache(maxsize=1)
def _judge() -> Judge:
    return load_judge()
