"""Argument types: what argparse refuses before anything is loaded."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Any

from mmspec import catalog


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """An integer of at least ``least`` and at most ``most``."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least or (most is not None and value > most):
            wanted = f"at least {least}" if most is None else f"between {least} and {most:,}"
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {value}")
        return value

    return convert


def number(least: float, most: float = math.inf, *, above: bool = False) -> Callable[[str], float]:
    """A finite number in a range; ``above`` leaves out the lower end."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        low = value > least if above else value >= least
        if not (low and value <= most and math.isfinite(value)):
            lower = f"above {least:g}" if above else f"at least {least:g}"
            upper = "" if math.isinf(most) else f" and at most {most:g}"
            raise argparse.ArgumentTypeError(f"must be {lower}{upper}, got {text}")
        return value

    return convert


def add_model(
    parser: argparse.ArgumentParser, family: str = "text", longest: int | None = 64
) -> argparse._ArgumentGroup:
    """Options every command that runs a method has; returns their group for more.

    Args:
        parser: Gets the options.
        family: Family of the methods.
        longest: Most draft steps that may be asked for; None where drafts have one length.
    """
    embedded = tuple(catalog.embedded(family))
    group = parser.add_argument_group("model and method")
    group.add_argument(
        "--model",
        default=embedded[0],
        help=f"{', '.join(embedded)}, a folder or a Hub id (default: %(default)s)",
    )
    group.add_argument("--revision", help="revision of a Hub model")
    group.add_argument(
        "--method",
        default="auto",
        metavar="NAME",
        help=f"auto or one of {', '.join(catalog.names(family))} (default: %(default)s)",
    )
    group.add_argument("--drafter", metavar="PATH", help="folder or Hub id of a drafter")
    if longest is None:
        return group
    group.add_argument("--draft-length", type=whole(1, longest), help="most draft steps a round")
    group.add_argument("--tree-width", type=whole(1, 64), help="children of a node of the tree")
    group.add_argument("--tree-budget", type=whole(1, 512), help="most drafted tokens a round")
    return group


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Options every command that runs a model has."""
    group = parser.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    group.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="number format of the weights (default: %(default)s)",
    )
    group.add_argument("--threads", type=whole(1), help="CPU threads (default: torch's own choice)")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Options every command that reports has."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", action="store_true", help="end stdout with one JSON document in one line"
    )
    group.add_argument("--quiet", action="store_true", help="nothing on stderr except errors")
    group.add_argument(
        "--color",
        default="auto",
        choices=("auto", "always", "never"),
        help="colour captions by who wrote each token (default: on a terminal)",
    )


def add_own_options(group: Any, fallback: str) -> None:
    """``--option`` for what only the chosen method takes, and ``--strict``.

    Args:
        group: Of a parser.
        fallback: What happens by default when the drafter fails.
    """
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the method's own, see `mmspec methods --json`; repeat for several",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help=f"fail when the drafter fails; default: {fallback}",
    )


def add_numbers(
    group: Any,
    options: type,
    kinds: Mapping[str, tuple[Callable[[str], Any], str]],
    flags: Mapping[str, str],
    unsaid: Mapping[str, str],
) -> None:
    """Flags for numeric fields of an options class, which has their defaults.

    Args:
        group: Of a parser.
        options: The class.
        kinds: Type and meaning of each field.
        flags: Flags that are not the field's name.
        unsaid: What the help calls a default of None; "the model's own" if not listed.
    """
    for name, (kind, about) in kinds.items():
        default = getattr(options, name)
        shown = unsaid.get(name, "the model's own") if default is None else default
        group.add_argument(
            f"--{flags.get(name, name.replace('_', '-'))}",
            dest=name,
            type=kind,
            default=default,
            metavar="N",
            help=f"{about} (default: {shown})",
        )
