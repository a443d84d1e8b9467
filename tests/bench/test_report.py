"""Tables, pictures and the page, drawn from records alone."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from mmspec.bench.report import PAGE, draw
from tests.bench.tables import drafted, entry, plain, records

ACCURACY = {"attribute_accuracy": [1.0, 0.5, 1.0, 0.5]}


def _caption(folder):
    foreign = entry("transformers generate", 1.25, identical=1.0)
    records([plain(identical=1.0), drafted(), foreign]).write(folder)


def _images(folder):
    knobs = [
        replace(drafted(f"lantern delta={delta}", values=ACCURACY), method="lantern", knob=delta)
        for delta in ("0.1", "0.2")
    ]
    entries = [plain(values=ACCURACY), *knobs]
    records(entries, name="image-curves", suite="image-curves", layout="image-curves").write(folder)


def test_the_table_says_what_the_records_hold(tmp_path):
    _caption(tmp_path)
    block = draw(tmp_path)["caption"]
    lines = block.splitlines()
    assert lines[0] == "Pictures (two slow cores, float32, 4 pictures, 2 repeats):"
    assert lines[2] == "Greedy:"
    assert lines[6] == "| plain loop | 10 | 1.00 [1.00, 1.00] | 1.00 | 1.00 | 1.00 | 0% | 100% |"
    # 80 units in 3.4 s of drafts and checks, against 80 in 8 s.
    assert lines[7] == "| fast | 20 | 2.00 [2.00, 2.00] | 5.00 | 2.35 | 0.85 | 25% | 100% |"
    assert lines[8] == "| transformers generate | 8 | 0.80 [0.80, 0.80] | – | – | – | – | 100% |"


def test_csv_holds_the_numbers_of_the_table(tmp_path):
    _caption(tmp_path)
    draw(tmp_path)
    with (tmp_path / "caption-greedy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["plain loop", "fast", "transformers generate"]
    assert float(rows[1]["speedup_low"]) == pytest.approx(2.0)
    assert float(rows[1]["ideal"]) == pytest.approx(8 / 3.4, rel=1e-5)
    assert rows[2]["ideal"] == ""


def test_drawing_again_gives_the_same_bytes(tmp_path):
    _caption(tmp_path)
    _images(tmp_path)
    draw(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        if path.suffix != ".jsonl":
            path.unlink()
    draw(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert {"caption-greedy-speedup.png", "caption-greedy-time.png"} <= set(first)
    assert {"caption-greedy-positions.png", "image-curves.png"} <= set(first)


def test_the_page_shows_every_table_and_picture_and_says_what_limits(tmp_path):
    _caption(tmp_path)
    _images(tmp_path)
    blocks = draw(tmp_path)
    page = (tmp_path / PAGE).read_text()
    assert all(block in page for block in blocks.values())
    for picture in tmp_path.glob("*.png"):
        assert f"]({picture.name})" in page
    assert "### What holds each back: caption, Greedy" in page
    assert "- **fast**: 2.00 [2.00, 2.00] times the baseline" in page


def test_an_unknown_layout_is_named(tmp_path):
    records([plain()], layout="spiral").write(tmp_path)
    with pytest.raises(ValueError, match="unknown layout 'spiral'"):
        draw(tmp_path)
