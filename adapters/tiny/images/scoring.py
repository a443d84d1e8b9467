"""How well generated pictures show what was asked for: the number behind ``--score``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from PIL import Image

from adapters.tiny.world.prompt_parser import parse_prompt

from .evaluate import class_scores, prompt_scores
from .judge import Judge, load_judge, see


def score_pictures(
    prompts: Sequence[str] | None,
    class_ids: Sequence[int] | None,
    images: Sequence[Image.Image],
) -> dict[str, float]:
    """Read pictures with the small world's judge and compare them with what was asked.

    Args:
        prompts: One prompt a picture, or None for pictures of classes.
        class_ids: One class a picture.
        images: The pictures, 64 x 64.

    Returns:
        ``attribute_accuracy``, the share of right answers to all questions that the prompts raise,
        and the share for each kind of question; of classes, the questions are colour and shape of
        the main thing, and ``class`` is the share of pictures with both right.

    Raises:
        ValueError: Prompts outside the world's grammar.
    """
    seen = see(_judge(), images)
    if prompts is None:
        return class_scores(class_ids or [], seen)
    scores = prompt_scores([parse_prompt(prompt) for prompt in prompts], seen)
    return {"attribute_accuracy": scores.pop("all"), **scores}


@lru_cache(maxsize=1)
def _judge() -> Judge:
    return load_judge()
