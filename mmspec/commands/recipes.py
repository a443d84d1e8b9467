"""Training recipes on the command line: one flag a field of a dataclass."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from typing import Any, TypeVar

from mmspec.commands.console import UsageError

Recipe = TypeVar("Recipe")


def add_recipe(parser: argparse.ArgumentParser, recipe: Any) -> None:
    """A flag for every field of a recipe; its docstring explains it, its values are defaults."""
    group = parser.add_argument_group("recipe")
    about = attribute_docs(type(recipe))
    for option in fields(recipe):
        default = getattr(recipe, option.name)
        flag = f"--{option.name.replace('_', '-')}"
        text = f"{about.get(option.name, option.name)} (default: %(default)s)"
        if isinstance(default, bool):
            group.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=default, help=text
            )
        else:
            group.add_argument(flag, type=type(default), default=default, metavar="N", help=text)


def recipe_of(kind: type[Recipe], args: argparse.Namespace) -> Recipe:
    """The recipe that was asked for.

    Raises:
        UsageError: An option that the recipe refuses.
    """
    chosen: Any = kind
    try:
        made: Recipe = chosen(**{one.name: getattr(args, one.name) for one in fields(chosen)})
    except ValueError as error:
        raise UsageError(str(error)) from None
    return made


def attribute_docs(cls: type) -> dict[str, str]:
    """What the ``Attributes:`` section of a docstring says of each field, for help texts."""
    section = (cls.__doc__ or "").partition("Attributes:")[2]
    entries = re.findall(r"^ {8}(\w+): (.+(?:\n {9,}.+)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".").replace("%", "%%") for name, text in entries}
