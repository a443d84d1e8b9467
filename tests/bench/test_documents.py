"""Documents are rewritten between their marks and nowhere else."""

from __future__ import annotations

import pytest

from mmspec.bench.documents import refresh

TEXT = """Before

<!-- bench:caption -->
old
<!-- /bench:caption -->

between ![speed](pictures/caption-speedup.png) and [numbers](pictures/image-curves.csv)

<!-- bench:video -->
kept
<!-- /bench:video -->
After
"""


def test_marked_tables_and_linked_files_are_replaced(tmp_path):
    folder, pictures = tmp_path / "out", tmp_path / "docs" / "pictures"
    folder.mkdir()
    pictures.mkdir(parents=True)
    (folder / "caption-speedup.png").write_bytes(b"new")
    (folder / "other.png").write_bytes(b"unasked")
    document = tmp_path / "docs" / "page.md"
    document.write_text(TEXT)
    done = refresh(document, {"caption": "| a \\1 |", "image": "unasked"}, folder)
    assert done == ["caption", "pictures/caption-speedup.png"]
    assert document.read_text() == TEXT.replace("old\n", "| a \\1 |\n")
    assert [path.name for path in pictures.iterdir()] == ["caption-speedup.png"]
    assert refresh(document, {"caption": "| a \\1 |"}, folder) == done
    assert document.read_text() == TEXT.replace("old\n", "| a \\1 |\n")


def test_a_mark_left_open_is_named(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("<!-- bench:caption -->\n| a |\n")
    with pytest.raises(ValueError, match="opens bench:caption without closing it"):
        refresh(document, {"caption": "new"}, tmp_path)
    assert document.read_text() == "<!-- bench:caption -->\n| a |\n"


def test_a_missing_document_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.md cannot be read"):
        refresh(tmp_path / "nowhere.md", {}, tmp_path)
