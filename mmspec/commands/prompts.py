"""Files of prompts, one a line."""

from __future__ import annotations

from pathlib import Path

from mmspec.commands.console import UsageError

MOST_BYTES = 16 * 2**20


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
