"""Where text goes: results to stdout, everything for people to stderr, one JSON document last."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from argparse import Namespace
from typing import Any, TextIO

_PACKAGES = ("mmspec", "lm_drafting", "image_ar", "video_ar", "adapters")


class UsageError(ValueError):
    """Wrong usage noticed after parsing; the command ends with status 2."""


class Console:
    """Writes for one command.

    Args:
        args: Parsed arguments; ``quiet``, ``json`` and ``color`` are read where a command has them.
    """

    def __init__(self, args: Namespace) -> None:
        self.quiet = bool(getattr(args, "quiet", False))
        self.json = bool(getattr(args, "json", False))
        self._choice = str(getattr(args, "color", "auto"))
        _route_warnings()

    def color(self, stream: TextIO) -> bool:
        """Whether to colour what goes to ``stream``; NO_COLOR (no-color.org) is respected."""
        if self._choice != "auto":
            return self._choice == "always"
        return (
            stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )

    def result(self, text: str, end: str = "\n") -> None:
        """A result: stdout, or stderr where stdout belongs to the JSON document."""
        if not self.json:
            sys.stdout.write(text + end)
            sys.stdout.flush()
        elif not self.quiet:
            sys.stderr.write(text + end)

    def say(self, text: str = "") -> None:
        """Something for people; dropped with --quiet."""
        if not self.quiet:
            sys.stderr.write(text + "\n")

    def error(self, text: str) -> None:
        """Why the command failed; never dropped."""
        complain(text)

    def document(self, value: dict[str, Any]) -> None:
        """The JSON document, in one line, the last one on stdout; only with --json."""
        if self.json:
            sys.stdout.write(to_line(value) + "\n")
            sys.stdout.flush()

    def table(self, rows: list[tuple[str, ...]], indent: int = 2) -> None:
        """Rows for people, columns aligned; the first row is the head."""
        for line in aligned(rows):
            self.say(" " * indent + line)


def complain(text: str) -> None:
    """An error line on stderr."""
    sys.stderr.write(f"mmspec: error: {text}\n")


def hush_libraries() -> None:
    """Keep transformers' own bars and remarks away from our output."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def to_line(value: Any) -> str:
    """Strict JSON in one line: numbers that JSON does not know become null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"mmspec: {record.levelname.lower()}: {record.getMessage()}\n")


def _route_warnings() -> None:
    """Show the libraries' warnings in our own form, once however often ``main`` is called."""
    for package in _PACKAGES:
        logger = logging.getLogger(package)
        if not any(isinstance(handler, _Handler) for handler in logger.handlers):
            logger.addHandler(_Handler(logging.WARNING))
            logger.propagate = False
