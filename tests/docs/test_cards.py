"""Every folder of bundled weights has a card: recipe, data, scores and cost, true to the files."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.docs.pages import ROOT

WEIGHTS = ROOT / "adapters" / "tiny" / "weights"
CARDS = sorted(WEIGHTS.rglob("README.md"))
# Weights that the card of the folder above may speak of.
PARTS = ("gpt", "model", "text_encoder")
SAID = (
    (r"(\d[\d.]*) million\s+parameters", 1e6),
    (r"(\d[\d.]*)\s+thousand\s+parameters", 1e3),
    (r"(\d[\d,]*) parameters", 1.0),
)


def parameters(file: Path) -> int:
    """Numbers stored in a file."""
    with safe_open(file, "pt") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    total = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        total += size
    return total


def described(card: Path) -> Path:
    """The file of weights that a card is about."""
    folder = card.parent
    names = ("*.safetensors", "gpt/*.safetensors", "model/*.safetensors")
    return next(file for name in names for file in sorted(folder.glob(name)))


def name_of(card: Path) -> str:
    return str(card.parent.relative_to(WEIGHTS))


def test_every_folder_of_weights_has_a_card() -> None:
    for file in WEIGHTS.rglob("*.safetensors"):
        folders = [file.parent]
        if file.parent.name in PARTS:
            folders.append(file.parent.parent)
        assert any((folder / "README.md").is_file() for folder in folders), file


@pytest.mark.parametrize("card", CARDS, ids=name_of)
def test_cards_say_what_is_asked_of_them(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert {"Data", "Recipe", "Scores"} <= set(headings)
    assert "minutes" in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (card.parent / link).is_file(), link


@pytest.mark.parametrize("card", CARDS, ids=name_of)
def test_cards_name_scripts_that_are_there(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert find_spec(module) is not None, module
    *before, last = [ROOT / folder for folder in re.findall(r"--out (\S+)", text)] or [card.parent]
    assert last == card.parent
    assert all(folder.is_relative_to(ROOT / "runs") for folder in before)


@pytest.mark.parametrize("card", CARDS, ids=name_of)
def test_cards_count_the_parameters(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    found = [
        (match[1].replace(",", ""), unit) for say, unit in SAID if (match := re.search(say, text))
    ]
    assert found, "the card says how many parameters there are"
    number, unit = found[0]
    decimals = len(number.partition(".")[2])
    there = parameters(described(card)) / unit
    # Some count from the size of the file, whose header is up to a hundredth of it.
    assert there == pytest.approx(float(number), abs=0.51 * 10**-decimals, rel=0.01)
