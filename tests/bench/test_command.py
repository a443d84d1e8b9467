"""`mmspec bench` from the command line, on records and on a suite that takes no time."""

from __future__ import annotations

import json

import pytest

from mmspec.bench import plan
from mmspec.cli import main
from tests.bench.tables import drafted, plain, records


def measure_nothing(settings):
    """A suite of one table; its size is what was asked for."""
    size = f"{settings.size.inputs} pictures, {settings.size.repeats} repeats"
    yield records([plain(), drafted()], size=size)


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setitem(plan.SUITES, "caption", f"{__name__}:measure_nothing")


def test_a_suite_is_measured_drawn_and_put_into_the_document(scripted, tmp_path, capsys):
    readme, out = tmp_path / "README.md", tmp_path / "out"
    readme.write_text("<!-- bench:caption -->\n<!-- /bench:caption -->\n")
    words = ["bench", "caption", "--quick", "--images", "5", "--out", str(out), "--json"]
    assert main([*words, "--readme", str(readme)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "5 pictures, 1 repeats" in document["tables"]["caption"]
    assert document["tables"]["caption"] in readme.read_text()
    assert (out / "report.md").is_file()


def break_off(settings):
    """A suite that stops before its first table."""
    raise ValueError("weights are missing")
    yield


def test_all_goes_on_after_a_suite_that_fails(scripted, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(plan.SUITES, "video", f"{__name__}:break_off")
    monkeypatch.setattr("mmspec.commands.bench.ALL", ("video", "caption"))
    assert main(["bench", "all", "--quick", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "suite video: weights are missing" in said
    assert "8 pictures, 1 repeats" in (tmp_path / "report.md").read_text()


def test_report_redraws_from_records_alone(tmp_path, capsys):
    records([plain(), drafted()]).write(tmp_path)
    assert main(["bench", "report", str(tmp_path), "--json", "--quiet"]) == 0
    first = capsys.readouterr().out
    assert main(["bench", "report", str(tmp_path), "--json", "--quiet"]) == 0
    assert capsys.readouterr().out == first


def test_damaged_records_are_an_error_of_one_line(tmp_path, capsys):
    records([plain(), drafted()]).write(tmp_path).write_text("{")
    assert main(["bench", "report", str(tmp_path)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "caption-greedy.jsonl holds no whole records" in errors[0]


def measure_with_curves(settings):
    """A suite with a second table in a block of its own, unless it is quick."""
    yield records([plain()], name="image", suite="image")
    if settings.size.points:
        yield records([plain()], name="image-curves", suite="image-curves")


def test_a_suite_measured_again_replaces_all_of_its_own_tables(scripted, monkeypatch, tmp_path):
    monkeypatch.setitem(plan.SUITES, "image", f"{__name__}:measure_with_curves")
    out = ["--out", str(tmp_path), "--quiet"]

    def tables() -> set[str]:
        return {path.stem for path in tmp_path.glob("*.jsonl")}

    assert main(["bench", "caption", *out]) == 0
    assert main(["bench", "image", *out]) == 0
    assert tables() == {"caption-greedy", "image", "image-curves"}
    assert main(["bench", "image", "--quick", *out]) == 0
    assert tables() == {"caption-greedy", "image"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report"], "give the folder"),
        (["caption", "there"], "--out there"),
        (["drafters"], "--drafters DIR"),
        (["caption", "--drafters", "x"], "--drafters DIR"),
        (["all", "--images", "4"], "--images is for one suite"),
        (["all", "--model", "tiny"], "--model is for one suite"),
        (["caption", "--images", "0"], "inputs of a benchmark must be 1 or more"),
        (["caption", "--readme", "nowhere.md"], "no document nowhere.md"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(words, said, capsys):
    assert main(["bench", *words]) == 2
    assert said in capsys.readouterr().err


def test_every_suite_has_a_size_and_quick_is_never_larger():
    assert set(plan.FULL) == set(plan.QUICK) == set(plan.SUITES)
    assert set(plan.ALL) <= set(plan.SUITES)
    for name, quick in plan.QUICK.items():
        assert quick.inputs <= plan.FULL[name].inputs
        assert quick.repeats <= plan.FULL[name].repeats
