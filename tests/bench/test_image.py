"""The image suites on a toy target: who draws how many pictures, and what is said of them."""

from __future__ import annotations

import pytest

from mmspec import catalog
from mmspec.bench import image, latent
from mmspec.bench.image import ImageBench
from mmspec.bench.image_suite import Table, drawn
from mmspec.bench.latent_suite import _table
from mmspec.bench.plan import FULL, Settings, Size
from mmspec.bench.records import Records
from mmspec.bench.report import draw
from mmspec.bench.standing import standings
from tests.core.image_target import HERE, ROWS, ToyImages

PICTURES = 3


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Records:
    monkeypatch.setattr(catalog, "METHODS", ROWS)
    monkeypatch.setattr(catalog, "IMAGE_SCORER", f"{HERE}:judge")
    bench, target = ImageBench("toy", PICTURES, repeats=2), ToyImages()
    entries = [(name, "", image.engine_for(bench, target, name)) for name in ("scd", "loose")]
    return drawn(bench, target, Table("image", "image", entries, {"loose": 1}), Settings(Size(3)))


def test_every_picture_is_drawn_and_judged_for_everyone(table):
    counts = {entry.name: entry.inputs for entry in table.entries}
    assert counts == {"plain loop": PICTURES, "scd": PICTURES, "loose": 1}
    for entry in table.entries:
        assert len(entry.cells) == 2
        assert list(entry.values["attribute_accuracy"]) == [0.5] * counts[entry.name]
    assert table.size == "3 pictures of 3 classes, 2 repeats"
    assert table.provenance["inputs_sha256"]


def test_plain_pictures_take_a_pass_a_cell_and_bias_is_reported(table):
    lines = {line.name: line for line in standings(table)}
    # Line ends are forced, and the prefill gives the first code.
    assert lines["plain loop"].passes == ToyImages().grid.length
    assert lines["plain loop"].acceptance_length == pytest.approx(1.0)
    assert lines["scd"].passes < lines["plain loop"].passes
    assert lines["scd"].entry.identical == 1.0
    assert lines["loose"].entry.loop.metrics.bias == pytest.approx(0.25, rel=0.2)


def test_the_number_of_pictures_stands_in_the_table(table, tmp_path):
    table.write(tmp_path)
    rows = [line.split(" | ")[:2] for line in draw(tmp_path)["image"].splitlines()[4:]]
    assert rows == [["| plain loop", "3"], ["| scd", "3"], ["| loose", "1"]]


def test_slow_modes_draw_the_planned_number_of_pictures():
    settings = Settings(FULL["image-continuous"])
    names = [f"cspd {mode}" for mode in latent.MODES]
    modes = [(name, "", None) for name in (*names, "cspd-self smoothed")]
    limits = _table("image-continuous", "latents", modes, settings).limits
    assert limits == dict.fromkeys(latent.SLOW, settings.size.slow)
    lengths = [(name, f"{length}", None) for name in names for length in latent.LENGTHS]
    few = _table("image-continuous-lengths", "latent-lengths", lengths, settings).limits
    slow = set(latent.SLOW) & set(names)
    assert len(few) == len(slow) * len(latent.LENGTHS)
    assert set(few.values()) == {settings.size.points // 2}
