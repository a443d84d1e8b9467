"""Whole tasks in two lines: ``pipe = pipeline("caption"); pipe("cat.png").text``."""

from __future__ import annotations

from typing import Any

from mmspec.catalog import resolve
from mmspec.pipelines.options import CLIP_PROMPT, PICTURE_PROMPT

__all__ = ["TASKS", "default_prompt", "pipeline"]

TASKS: dict[str, str] = {
    "caption": "mmspec.pipelines.loading:load_captioner",
    "image": "mmspec.pipelines.image:load_painter",
    "video": "mmspec.pipelines.video:load_filmmaker",
}


def pipeline(task: str, model: Any = None, **options: Any) -> Any:
    """A callable that does a task with a model, speculatively.

    Args:
        task: ``"caption"``: pictures and clips to text; ``"image"``: prompts or classes to images;
            ``"video"``: prompts to videos.
        model: A local folder, a Hub id, or a ready object; None takes the one that comes with the
            package.
        **options: See :func:`mmspec.pipelines.loading.load_captioner`,
            :func:`mmspec.pipelines.image.load_painter` and
            :func:`mmspec.pipelines.video.load_filmmaker`.

    Returns:
        A :class:`~mmspec.pipelines.caption.CaptionPipeline`, an
        :class:`~mmspec.pipelines.image.ImagePipeline` or a
        :class:`~mmspec.pipelines.video.VideoPipeline`.

    Raises:
        ValueError: Unknown task, method or method option; the message lists the known ones.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task '{task}'; tasks are {', '.join(TASKS)}")
    given = () if model is None else (model,)
    return resolve(TASKS[task])(*given, **options)


def default_prompt(model: str = "", clip: bool = False) -> str:
    """What is asked where the caller asks nothing; so far the same words suit every model."""
    return CLIP_PROMPT if clip else PICTURE_PROMPT
