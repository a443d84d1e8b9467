"""`mmspec methods`: the catalog."""

from __future__ import annotations

import argparse

from mmspec import catalog
from mmspec.commands.console import Console, aligned
from mmspec.commands.values import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--family", help="only methods of this family (text, image, video)")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table, or the rows as JSON."""
    console = Console(args)
    rows = catalog.methods(args.family)
    if console.json:
        console.document({"command": "methods", "methods": [row.as_dict() for row in rows]})
        return 0
    table: list[tuple[str, ...]] = [("name", "family", "lossless", "trained", "summary")]
    for row in rows:
        lossless = "yes" if row.lossless else f"no ({row.certificate})"
        trained = "yes" if row.trained else "no"
        table.append((row.name, row.family, lossless, trained, row.summary))
    for line in aligned(table):
        console.result(line)
    return 0
