"""README and docs speak of what is there: links, pictures, paths, names, headings, drafters."""

from __future__ import annotations

import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from lm_drafting.checkpoints import KNOWN
from mmspec import catalog
from tests.docs.pages import PACKAGES, PAGES, ROOT, prose_of, text_of

DOCS = ROOT / "docs"
FAMILIES = ("captioning", "vlm_drafting", "image_generation", "latent_images", "video")
HEADINGS = ["What it does", "When to use it", "What it costs", "Limits", "Sources"]
PICTURES = (".gif", ".jpg", ".png", ".webp")
README_PICTURES = 200_000  # bytes of all together
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
DOTTED = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+")


def anchors(page: Path) -> set[str]:
    """Fragments of a page's headings, as they are made where Markdown is shown."""
    titles = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.replace(" ", "-") for title in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_are_there(page: Path) -> None:
    for link in LINK.findall(prose_of(page)):
        if link.startswith("http"):
            continue
        name, _, fragment = link.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), link
        assert not fragment or fragment in anchors(there), link


def test_pictures_of_the_readme_are_small() -> None:
    links = LINK.findall(text_of(ROOT / "README.md"))
    pictures = [ROOT / link for link in links if link.endswith(PICTURES)]
    assert pictures
    assert sum(picture.stat().st_size for picture in pictures) < README_PICTURES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_paths_and_names_of_the_code_exist(page: Path) -> None:
    for code in CODE.findall(prose_of(page)):
        if code.split("/")[0] in (*PACKAGES, "demos", "tests") and re.fullmatch(r"[\w./-]+", code):
            assert (ROOT / code).exists(), code
        elif DOTTED.fullmatch(code.split("(")[0]):
            assert found(code.split("(")[0]), code


def found(dotted: str) -> bool:
    """Whether a dotted name is a module, or a member of one."""
    parts = dotted.split(".")
    try:
        import_module(dotted)
    except ImportError:
        return hasattr(import_module(".".join(parts[:-1])), parts[-1])
    return True


def test_names_that_do_not_exist_are_found() -> None:
    assert found("mmspec.pipeline")
    assert found("lm_drafting.diagnosis")
    assert not found("mmspec.no_such_name")


def test_the_map_of_the_code_is_true() -> None:
    """Every module and folder named in the table of rooms lies in its place."""
    rows = re.findall(r"^\| (?:`([\w/]+)/`)? ?\| (.+) \|$", text_of(DOCS / "architecture.md"), re.M)
    place = ""
    seen: set[str] = set()
    for given, holds in rows:
        place = given or place
        for name in CODE.findall(holds):
            if re.fullmatch(r"\w+/?", name):
                there = ROOT / place / name
                assert there.is_dir() if name.endswith("/") else there.with_suffix(".py").is_file()
                seen.add(f"{place}/{name.rstrip('/')}")
    assert {name.split("/")[0] for name in seen} >= set(PACKAGES)


@pytest.mark.parametrize("family", FAMILIES)
def test_pages_of_families_have_the_same_headings(family: str) -> None:
    page = DOCS / f"{family}.md"
    assert re.findall(r"^## (.+)$", prose_of(page), re.MULTILINE) == HEADINGS
    sections = re.split(r"^## .+$", text_of(page), flags=re.MULTILINE)
    assert all(len(section) > 80 for section in sections)


def test_marked_tables_are_closed() -> None:
    for page in PAGES:
        marks = re.findall(r"<!-- (/?)bench:([\w-]+) -->", text_of(page))
        opened, closed = marks[::2], marks[1::2]
        assert [("/", name) for _, name in opened] == closed, page.name


def test_the_index_lists_every_page() -> None:
    listed = set(LINK.findall(text_of(DOCS / "README.md")))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= listed


def test_every_method_is_described() -> None:
    pages = {
        "text": ("captioning", "vlm_drafting"),
        "image": ("image_generation", "latent_images"),
        "video": ("video",),
    }
    for family, names in pages.items():
        text = "".join(text_of(DOCS / f"{name}.md") for name in names)
        for row in catalog.methods(family):
            assert f"`{row.name}`" in text, f"{family} method {row.name} is on no page"


def test_every_known_drafter_is_listed_with_its_target() -> None:
    text = "".join(map(text_of, PAGES))
    for drafter in KNOWN:
        if drafter.method != "MSD":  # recognised, but not run as it was trained
            assert drafter.name in text
            assert drafter.target in text


def test_headings_do_not_skip_levels() -> None:
    for page in PAGES:
        levels = [len(marks) for marks in re.findall(r"^(#+) ", prose_of(page), re.MULTILINE)]
        assert levels[0] == 1, page.name
        assert all(after <= before + 1 for before, after in pairwise(levels)), page.name
