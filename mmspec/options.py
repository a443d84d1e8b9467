"""What the options of a method may be: said once, for its classes and for early refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import update_wrapper
from math import isfinite
from pathlib import Path
from typing import Any, Generic, TypeVar

from mmspec.catalog import BuildContext

Check = Callable[[str, Any], None]
Checks = Mapping[str, Check]
Built = TypeVar("Built")


def real(low: float, high: float = float("inf")) -> Check:
    """A number in ``[low, high]``; infinity and NaN never pass."""
    room = f"between {low} and {high}" if isfinite(high) else f"finite and at least {low}"

    def check(name: str, value: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and low <= value <= high and isfinite(value)):
            raise ValueError(f"{name} must be {room}, got {value!r}")

    return check


def whole(low: int, high: int | None = None) -> Check:
    """A whole number of at least ``low`` and at most ``high``."""
    room = f"at least {low}" if high is None else f"between {low} and {high}"

    def check(name: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
        if value < low or (high is not None and value > high):
            raise ValueError(f"{name} must be {room}, got {value}")

    return check


def one_of(allowed: Iterable[str]) -> Check:
    """One of some names."""
    names = tuple(allowed)

    def check(name: str, value: Any) -> None:
        if value not in names:
            raise ValueError(f"{name} must be one of {', '.join(names)}, got {value!r}")

    return check


def instance(what: str, *kinds: type) -> Check:
    """An object of one of ``kinds``; ``what`` is their description."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, kinds):
            raise ValueError(f"{name} must be {what}, got {value!r}")

    return check


def optional(inner: Check) -> Check:
    """None, or what passes ``inner``."""

    def check(name: str, value: Any) -> None:
        if value is not None:
            inner(name, value)

    return check


def flag() -> Check:
    """True or False."""
    return instance("true or false", bool)


def path_or(what: str, *kinds: type) -> Check:
    """A path, or an object of one of ``kinds``, which ``what`` describes."""
    return instance(f"a path or {what}", str, Path, *kinds)


def check_values(checks: Checks, values: Mapping[str, Any]) -> None:
    """Refuse the first wrong one of ``values``; names without a check pass.

    Raises:
        ValueError: With the option's name, what it may be and what was given.
    """
    for name, value in values.items():
        if name in checks:
            checks[name](name, value)


class Builder(Generic[Built]):
    """A ``build`` of the catalog that knows wrong options before there is a target.

    Args:
        make: Makes the part.
        checks: What each of its options may be.
        together: Refuses values that are wrong beside one another; None where there are none.
    """

    def __init__(
        self,
        make: Callable[[BuildContext], Built],
        checks: Checks,
        together: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        update_wrapper(self, make)
        self._make, self._checks, self._together = make, checks, together

    def __call__(self, context: BuildContext) -> Built:
        """The part, for a target."""
        return self._make(context)

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse what is wrong whatever the target.

        Raises:
            ValueError: With the option's name, what it may be and what was given.
        """
        check_values(self._checks, options)
        if self._together is not None:
            self._together(options)


def takes(
    checks: Checks, together: Callable[[Mapping[str, Any]], None] | None = None
) -> Callable[[Callable[[BuildContext], Built]], Builder[Built]]:
    """Decorates a ``build`` with its options, see :class:`Builder`."""
    return lambda make: Builder(make, checks, together)
