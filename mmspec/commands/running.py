"""What every command that runs a method does before it runs: cheap checks, then loading."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mmspec import catalog, choosing
from mmspec.commands.console import UsageError, hush_libraries

_PLAN = ("draft_length", "tree_width", "tree_budget")  # not every command has them


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


def check_options(args: argparse.Namespace, family: str, options: dict[str, Any]) -> None:
    """Refuse options that the method does not take; ``auto`` is settled first.

    Raises:
        UsageError: The message names what it takes.
    """
    choose = {"image": choosing.choose_image, "video": choosing.choose_video}[family]
    try:
        auto = args.method == "auto"
        row = choose(args.drafter)[0] if auto else catalog.get(args.method, family)
        row.check_options(options)
    except ValueError as error:
        raise UsageError(str(error)) from None


def check_score(args: argparse.Namespace, family: str) -> None:
    """Refuse ``--score`` for models whose output nobody judges.

    Raises:
        UsageError: The message names the embedded models.
    """
    if args.score and args.model not in catalog.embedded(family):
        known = ", ".join(catalog.embedded(family))
        raise UsageError(f"--score needs a model of the small world: {known}")


def check_folder(out: Path | None) -> None:
    """Refuse an output folder that is a file.

    Raises:
        UsageError: It is one.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out must be a folder, and '{out}' is a file")


def pairs_of(given: list[str], flag: str = "--option") -> dict[str, Any]:
    """``NAME=VALUE`` pairs; a value is read as JSON where it is JSON, else as text.

    Raises:
        UsageError: Something without a name or an equals sign.
    """
    options: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"{flag} takes NAME=VALUE, got {pair!r}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        options[name.replace("-", "_")] = value
    return options


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
        **{name: getattr(args, name) for name in _PLAN if hasattr(args, name)},
        **more,
    )
