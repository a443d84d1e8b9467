"""Prompts from the command line, from stdin and from files, one a line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmspec.commands.console import UsageError
from mmspec.pipelines.prompts import check_prompts

MOST_BYTES = 16 * 2**20


def add_prompts(parser: argparse.ArgumentParser, about: str) -> None:
    """The arguments that :func:`prompts_of` reads; ``about`` says what a prompt is for."""
    parser.add_argument(
        "prompts", nargs="*", metavar="PROMPT", help=f"{about}; - reads stdin, one a line"
    )
    parser.add_argument(
        "--prompts", dest="file", type=Path, metavar="FILE", help="file of prompts, one a line"
    )


def prompts_of(args: argparse.Namespace, family: str) -> list[str]:
    """The prompts of the command line, of stdin and of the file, in this order.

    Raises:
        UsageError: There are none, or one that a model of the family cannot take.
    """
    prompts: list[str] = []
    for given in args.prompts:
        prompts += lines_of(sys.stdin.read(MOST_BYTES)) if given == "-" else [given]
    if args.file is not None:
        prompts += lines_of(read_text(args.file))
    if not prompts:
        where = f"'{args.file}'" if args.file is not None else "stdin"
        raise UsageError(f"there is no prompt in {where}; write one a line")
    try:
        check_prompts(prompts, args.model, family)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return prompts


def lines_of(text: str) -> list[str]:
    """Lines that are not empty, stripped."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_text(path: Path) -> str:
    """The text of a file of prompts.

    Raises:
        UsageError: It cannot be read, is no UTF-8, or is larger than :data:`MOST_BYTES`.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"'{path}' is larger than 16 MiB; that is no file of prompts")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read '{path}': it is not UTF-8 text") from None
