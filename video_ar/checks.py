"""Checks of options, with errors that name the option and its range."""

from __future__ import annotations

import math


def check_number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Refuse anything but a number in ``[low, high]``; NaN is none.

    Raises:
        ValueError: Names the option, its range and what was given.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number{_range(low, high)}, got {value!r}")


def check_count(name: str, value: object, low: int = 0, high: float = math.inf) -> None:
    """Refuse anything but a whole number in ``[low, high]``.

    Raises:
        ValueError: Names the option, its range and what was given.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not low <= value <= high:  # type: ignore[operator]
        raise ValueError(f"{name} must be a whole number{_range(low, high)}, got {value!r}")


def _range(low: float, high: float) -> str:
    """In words."""
    if math.isinf(low) and math.isinf(high):
        return " (infinite ones allowed)"
    if math.isinf(high):
        return f" of at least {low:g}"
    return f" from {low:g} to {high:g}"
