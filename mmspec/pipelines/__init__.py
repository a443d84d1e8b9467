"""Whole tasks in two lines: ``pipe = pipeline("caption"); pipe("cat.png").text``."""

from __future__ import annotations

from typing import Any

from mmspec.catalog import resolve
from mmspec.pipelines.options import CLIP_PROMPT, PICTURE_PROMPT

__all__ = ["TASKS", "default_prompt", "pipeline"]

TASKS: dict[str, str] = {
    "caption": "mmspec.pipelines.loading:load_captioner",
    "image": "mmspec.pipelines.image:load_painter",
}


def pipeline(task: str, model: Any = "tiny", **options: Any) -> Any:
    """A callable that does a task with a model, speculatively.

    Args:
        task: ``"caption"``: pictures and clips to text; ``"image"``: prompts or classes to images.
        model: ``"tiny"`` (comes with the package), a local folder, a Hub id, or a ready object.
        **options: See :func:`mmspec.pipelines.loading.load_captioner` and
            :func:`mmspec.pipelines.image.load_painter`.

    Returns:
        A :class:`~mmspec.pipelines.caption.CaptionPipeline` or an
        :class:`~mmspec.pipelines.image.ImagePipeline`.

    Raises:
        ValueError: Unknown task, method or method option; the message lists the known ones.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task '{task}'; tasks are {', '.join(TASKS)}")
    return resolve(TASKS[task])(model, **options)


def default_prompt(model: str = "", clip: bool = False) -> str:
    """What is asked where the caller asks nothing; so far the same words suit every model."""
    return CLIP_PROMPT if clip else PICTURE_PROMPT
