"""Every Python block of README and docs runs, or says that it cannot and names real things."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.names import unknown_names
from tests.docs.pages import PAGES, blocks, pages_with, run_page


@pytest.mark.parametrize("page", pages_with("python"), ids=lambda page: page.stem)
def test_python_blocks_run(page: Path) -> None:
    run_page(page)


def test_blocks_that_are_not_run_find_their_names() -> None:
    checked = 0
    for page in PAGES:
        for block in blocks(page, "python"):
            if not block.runs:
                assert unknown_names(block.text, run_page(page), block.name) == []
                checked += 1
    assert checked


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("import mmspec\nmmspec.pipeline('caption')", []),
        ("import mmspec\nmmspec.pipe('caption')", ["mmspec.pipe"]),
        ("from mmspec import Engine\nEngine(target)", ["target"]),
        ("[page for page in pages]", []),
    ],
)
def test_names_that_nobody_defines_are_found(code: str, missing: list[str]) -> None:
    assert unknown_names(code, {"pages": []}) == missing


def test_imports_that_do_not_exist_are_found() -> None:
    with pytest.raises(ImportError, match="no_such_name"):
        unknown_names("from mmspec import no_such_name", {})
