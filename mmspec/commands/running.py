"""What every command that runs a method does before it runs: cheap checks, then loading."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.commands.console import UsageError, hush_libraries


def check_method(args: argparse.Namespace, family: str = "text") -> None:
    """Refuse a method that is unknown, or that lacks its drafter, before anything is imported.

    Raises:
        UsageError: The message names what is known or needed.
    """
    if args.method == "auto":
        return
    try:
        method = catalog.get(args.method, family)
    except ValueError as error:
        raise UsageError(str(error)) from None
    known = args.model in catalog.embedded(family)
    if method.trained and args.drafter is None and not known:
        raise UsageError(f"method '{method.name}' needs {method.needs}: give --drafter")


def check_folder(out: Path | None) -> None:
    """Refuse an output folder that is a file.

    Raises:
        UsageError: It is one.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out must be a folder, and '{out}' is a file")


def load_pipeline(task: str, args: argparse.Namespace, **more: Any) -> Any:
    """The pipeline of a task as the command line asks for it; ``more`` is the task's own."""
    import torch

    from mmspec.pipelines import pipeline

    hush_libraries()
    if args.threads:
        torch.set_num_threads(args.threads)
    return pipeline(
        task,
        args.model,
        method=args.method,
        drafter=args.drafter,
        device=args.device,
        dtype=args.dtype,
        revision=args.revision,
        draft_length=args.draft_length,
        tree_width=args.tree_width,
        tree_budget=args.tree_budget,
        **more,
    )
