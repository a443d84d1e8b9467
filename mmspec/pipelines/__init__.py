"""Whole tasks in two lines: ``pipe = pipeline("caption"); pipe("cat.png").text``."""

from __future__ import annotations

from typing import Any

from mmspec.catalog import resolve

__all__ = ["TASKS", "pipeline"]

TASKS: dict[str, str] = {"caption": "mmspec.pipelines.loading:load_captioner"}


def pipeline(task: str, model: Any = "tiny", **options: Any) -> Any:
    """A callable that does a task with a model, speculatively.

    Args:
        task: ``"caption"``: pictures and clips to text.
        model: ``"tiny"`` (comes with the package), a local folder, a Hub id, or a ready object.
        **options: See :func:`mmspec.pipelines.loading.load_captioner`.

    Returns:
        A :class:`~mmspec.pipelines.caption.CaptionPipeline` for ``"caption"``.

    Raises:
        ValueError: Unknown task, method or method option; the message lists the known ones.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task '{task}'; tasks are {', '.join(TASKS)}")
    return resolve(TASKS[task])(model, **options)
