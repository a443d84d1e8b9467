"""README and docs as the tests see them: pages, their code blocks, their commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("adapters", "image_ar", "lm_drafting", "mmspec", "video_ar")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# The one way to mark code that cannot run here; readers of the page see it.
NOT_RUN = "# needs a checkpoint of the Hub"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        name: Page and line, for error messages.
        language: As written behind the fence.
        text: Its lines.
    """

    name: str
    language: str
    text: str

    @property
    def runs(self) -> bool:
        """False for code that says it needs what the tests do not have."""
        return not self.text.startswith(NOT_RUN)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """The page without its code blocks."""
    return _BLOCK.sub("", text_of(page))


def blocks(page: Path, language: str) -> list[Block]:
    text = text_of(page)
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(f"{page.name}:{line}", match[1], match[2]))
    return [block for block in found if block.language == language]


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every ``mmspec ...`` line of every page, and its words after ``mmspec``."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.text.splitlines():
                if line.startswith("mmspec "):
                    yield line, shlex.split(line.partition("|")[0], comments=True)[1:]


@cache
def run_page(page: Path) -> dict[str, Any]:
    """Run the Python blocks of a page, one after the other in one namespace and an empty folder.

    Returns:
        The namespace at the end.
    """
    names: dict[str, Any] = {"__name__": page.stem}
    with TemporaryDirectory() as folder, chdir(folder):
        Path("adapters").symlink_to(ROOT / "adapters")
        for block in blocks(page, "python"):
            if block.runs:
                exec(compile(block.text, block.name, "exec"), names)
    return names
