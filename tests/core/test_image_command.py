"""`mmspec image` on a toy grid model: files, documents, exit codes, and every kind of bad input."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmspec import catalog, pictures
from mmspec.cli import main
from mmspec.commands import image_output
from tests.core.image_target import HERE, ROWS, ToyImages

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    text = tuple(row for row in catalog.METHODS if row.family == "text")
    monkeypatch.setattr(catalog, "METHODS", (*text, *ROWS))
    monkeypatch.setattr(catalog, "IMAGE_LOADER", f"{HERE}:load")
    monkeypatch.setattr(catalog, "IMAGE_SCORER", f"{HERE}:judge")
    monkeypatch.setattr(catalog, "IMAGE_WORDS", f"{HERE}:read_words")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mmspec image` on the toy, into a folder of its own."""

    def image(*words: object) -> tuple[int, str, str]:
        line = ["image", *(str(word) for word in words)]
        if "--out" not in line:
            line += ["--out", str(tmp_path / "out")]
        if "--model" not in line:
            line += ["--model", "toy"]
        status = main(line)
        said = capsys.readouterr()
        return status, said.out, said.err

    return image


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_pictures_are_written_with_their_settings(run: Run, tmp_path: Path) -> None:
    status, out, err = run("a red circle", "a star", "--num-images", 2, "--seed", 3)
    assert status == 0
    names = ["0000-a-red-circle", "0001-a-red-circle", "0002-a-star", "0003-a-star"]
    assert files(tmp_path / "out") == [f"{name}.png" for name in names]
    assert [Path(line).stem for line in out.splitlines()] == names
    text = Image.open(tmp_path / "out" / "0002-a-star.png").text
    assert (text["prompt"], text["seed"], text["model"]) == ("a star", "5", "toy")
    assert text["method"] == "scd"
    assert "target forwards (NFE)" in err
    assert "step compression" in err
    assert "auto chose scd" in err
    status, out, err = run("a star", "--quiet")
    assert (status, err) == (0, "")


def test_last_line_is_the_contract_document(run: Run, tmp_path: Path) -> None:
    words = ["--json", "--compare", "--seed", 1, "--temperature", 0, "--batch-size", 2]
    status, out, err = run("a star", "a red star", *words)
    assert status == 0
    document = json.loads(out.splitlines()[-1])
    assert len(out.splitlines()) == 1
    assert document["command"] == "image"
    assert document["baseline"]["identical"] is True
    assert document["speedup"] > 0
    assert [output["text"] for output in document["outputs"]] == [None, None]
    assert [Path(output["path"]).name for output in document["outputs"]] == [
        "0000-a-star.png",
        "0001-a-red-star.png",
    ]
    assert "identical to plain decoding: yes" in err
    assert "speed-up" in err


def test_classes_and_their_list(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--class-id", 2, 0, "--seed", 0)[0] == 0
    assert files(tmp_path / "out") == ["0000-class-2.png", "0001-class-0.png"]
    status, out, _ = run("--list-classes", "--json", "--out", tmp_path / "none")
    assert status == 0
    assert json.loads(out.splitlines()[-1])["classes"] == ["circle", "square", "star"]
    assert "   1  square" in run("--list-classes")[1]
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(ToyImages, "classes", None)
    status, _, err = run("--list-classes")
    assert status == 1
    assert "'toy' has no list of classes" in err


def test_prompts_from_files_and_stdin(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "prompts.txt"
    listed.write_text("a star\n\n  a red star \n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("a circle\n"))
    status, out, _ = run("a blue star", "-", "--prompts", listed)
    assert status == 0
    stems = [Path(line).stem for line in out.splitlines()]
    assert stems == ["0000-a-blue-star", "0001-a-circle", "0002-a-star", "0003-a-red-star"]


def test_heatmaps_lie_beside_the_pictures(run: Run, tmp_path: Path) -> None:
    status, _, err = run("a star", "--heatmap", "--seed", 0)
    assert status == 0
    assert files(tmp_path / "out") == ["0000-a-star.heatmap.png", "0000-a-star.png"]
    assert "wrote" in err
    assert Image.open(tmp_path / "out" / "0000-a-star.heatmap.png").width == 512


def test_lossy_methods_are_told(run: Run) -> None:
    status, out, err = run(
        "a star", "--method", "loose", "--option", "tolerance=0.5", "--json", "--compare"
    )
    assert status == 0
    document = json.loads(out.splitlines()[-1])
    assert document["lossless"] is False
    assert 0 < document["bias"] <= 0.25
    assert "not lossless: lossy: made for a test" in err
    assert "mean one-step bias 0." in err
    assert "not equal in law" in err
    assert run("a star", "--method", "loose", "--bias-budget", 0)[0] == 0


def test_scores_of_both_sides(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "embedded_folder", lambda *given: Path("there"))
    words = ("a star", "--model", "tiny", "--score", "--compare", "--json")
    status, out, err = run(*words)
    assert status == 0
    document = json.loads(out.splitlines()[-1])
    assert document["quality"]["attribute_accuracy"] == 0.5
    assert document["baseline"]["quality"] == document["quality"]
    assert "attribute accuracy" in err


def test_interruption_keeps_finished_pictures(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = ToyImages.to_pixels, iter(range(9))

    def stop_at_second(self: ToyImages, tokens: Any) -> Any:
        if next(count) == 1:
            raise KeyboardInterrupt
        return real(self, tokens)

    monkeypatch.setattr(ToyImages, "to_pixels", stop_at_second)
    status, out, err = run("a star", "--num-images", 3, "--json", "--seed", 0)
    assert status == 1
    assert "interrupted; 1 picture kept in" in err
    assert files(tmp_path / "out") == ["0000-a-star.png"]
    assert len(json.loads(out.splitlines()[-1])["outputs"]) == 1


def test_full_disk_names_what_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = pictures.save_png, iter(range(9))

    def full_at_second(*given: Any) -> None:
        if next(count) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*given)

    monkeypatch.setattr(image_output, "save_png", full_at_second)
    status, _, err = run("a star", "--num-images", 3, "--seed", 0)
    assert status == 1
    assert "0001-a-star.png': No space left on device; 1 picture kept in" in err
    assert "Traceback" not in err
    assert files(tmp_path / "out") == ["0000-a-star.png"]


def test_half_written_files_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Image.Image, path: Path, *given: Any, **options: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(OSError, match="No space left"):
        pictures.save_png(Image.new("RGB", (2, 2)), tmp_path / "x.png", {})
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to draw: give a PROMPT, --prompts FILE or --class-id N"),
        (["a star", "--class-id", "1"], "give prompts or --class-id, not both"),
        (["a star", "--list-classes"], "--list-classes draws nothing"),
        ([""], "the prompt is empty; say what to draw"),
        (["a " * 10_000], "10,000 words, at most 1,000"),
        (["a purple star", "--model", "tiny"], "the prompt: unknown word 'purple'; nearest"),
        (["--class-id", "7"], "class 7 is out of range; there are 3"),
        (["--class-id", "-1"], "must be at least 0, got -1"),
        (["--class-id", "dog"], "'dog' is not a whole number"),
        (["a", "--guidance-scale", "-1"], "must be at least 0, got -1"),
        (["a", "--temperature", "nan"], "must be at least 0"),
        (["a", "--top-p", "0"], "above 0 and at most 1"),
        (["a", "--num-images", "0"], "between 1 and 10,000"),
        (["a", "--batch-size", "1000"], "between 1 and 256"),
        (["a", "--bias-budget", "2"], "at least 0 and at most 1"),
        (["a", "--method", "magic"], "unknown method 'magic'; known methods: none, scd"),
        (["a", "--method", "eagle"], "unknown method 'eagle'"),
        (["a", "--method", "learned"], "method 'learned' needs"),
        (["a", "--drafter", "x"], "name the method that the drafter is for"),
        (["a", "--option", "tolerance=1"], "method 'scd' has no option tolerance"),
        (["a", "--option", "tolerance"], "--option takes NAME=VALUE, got 'tolerance'"),
        (["a", "--score"], "--score needs a model of the small world: tiny, tiny-c2i"),
        (["--prompts", "no-such-file.txt"], "cannot read 'no-such-file.txt': No such file"),
        (["a", "--no-such-flag"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_ends_with_two(run: Run, words: list[str], said: str) -> None:
    status, out, err = run(*words)
    assert status == 2
    assert said in err
    assert out == ""
    assert "Traceback" not in err


def test_bad_files_of_prompts_and_folders(run: Run, tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text("\n \n")
    binary.write_bytes(b"\xff\xfe\x00")
    assert "there is no prompt in" in run("--prompts", empty)[2]
    assert "is not UTF-8 text" in run("--prompts", binary)[2]
    status, _, err = run("a star", "--out", empty)
    assert status == 2
    assert "--out must be a folder" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "--model", "missing"], "cannot load 'missing'"),
        (["a", "--bias-budget", "0.1"], "method 'scd' is exact and spends no bias"),
    ],
)
def test_failed_work_ends_with_one(run: Run, words: list[str], said: str) -> None:
    status, out, err = run(*words)
    assert status == 1
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


def test_help_lists_the_methods_of_the_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "--help"]) == 0
    said = capsys.readouterr().out
    assert "loose" in said
    assert "eagle" not in said
    assert "tiny-c2i" in said


def test_progress_counts_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmspec import pipeline
    from mmspec.pipelines import image_run

    class Bar:
        moved = 0

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *given: object) -> None: ...

        def update(self, count: int) -> None:
            Bar.moved += count

    asked: list[tuple[int, bool]] = []
    monkeypatch.setattr(image_run, "_bar", lambda *given: asked.append(given) or Bar())
    pipe = pipeline("image", ToyImages(), method="scd")
    pipe.compare("a star", num_images_per_prompt=3, batch_size=2, progress=True)
    assert asked == [(2 * 3 * 16, True)]
    assert Bar.moved == 2 * 3 * 16
