"""Documents whose tables and pictures come from records."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmspec.files import replace_file

_MARKED = re.compile(r"(<!-- bench:([\w-]+) -->\n)(.*?)(<!-- /bench:\2 -->)", re.DOTALL)
_OPENING = re.compile(r"<!-- bench:([\w-]+) -->")
_LINKED = re.compile(r"\]\(([^)\s#]+\.(?:png|csv))\)")


def refresh(document: Path, blocks: Mapping[str, str], folder: Path) -> list[str]:
    """Rewrite what a document shows of the records in ``folder``.

    The text between ``<!-- bench:SUITE -->`` and ``<!-- /bench:SUITE -->`` becomes that suite's
    tables. Pictures and CSV files that the document links to are replaced where the folder has a
    file of the same name. All else stays as it is.

    Args:
        document: A Markdown file; rewritten.
        blocks: Markdown by suite.
        folder: Where the pictures are.

    Returns:
        Names of the blocks and files that were replaced.

    Raises:
        ValueError: There is no such file, or a mark that is not closed.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{document} cannot be read as a document: {error}") from error
    closed = {match[2] for match in _MARKED.finditer(text)}
    for name in _OPENING.findall(text):
        if name not in closed:
            raise ValueError(f"{document} opens bench:{name} without closing it")
    done = [match[2] for match in _MARKED.finditer(text) if match[2] in blocks]

    def fill(match: re.Match[str]) -> str:
        inside = f"{blocks[match[2]]}\n" if match[2] in blocks else match[3]
        return f"{match[1]}{inside}{match[4]}"

    fresh = _MARKED.sub(fill, text)
    if fresh != text:
        replace_file(document, lambda path: path.write_text(fresh, encoding="utf-8"))
    return done + _copied(document, text, folder)


def _copied(document: Path, text: str, folder: Path) -> list[str]:
    """Bring the linked files up to date; returns their names."""
    names = []
    for link in dict.fromkeys(_LINKED.findall(text)):
        source, there = folder / Path(link).name, document.parent / link
        if "://" not in link and source.is_file():
            shutil.copyfile(source, there)
            names.append(link)
    return names
