"""`mmspec train image-eagle`: from models that were saved to drafters that can be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.llamagen.config import CLASSES, TEXT
from mmspec import catalog
from mmspec.cli import main
from mmspec.commands.train_image import subjects_of_words, world_prompts
from mmspec.pipelines.image_options import Subject
from tests.adapters.llamagen.test_llamagen_loading import saved

Run = Callable[..., tuple[int, str]]
SMALL = ("--samples", 6, "--steps", 2, "--batch", 2, "--held-out", 2, "--depth", 2, "--quiet")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    made = {kind: saved(kind, root / kind) for kind in (CLASSES, TEXT)}
    made["nameless"] = saved(CLASSES, root / "nameless", classes=None)
    return made


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def train(*words: object, out: Path = tmp_path / "out") -> tuple[int, str]:
        status = main(["train", "image-eagle", "--out", str(out), *map(str, words)])
        return status, capsys.readouterr().err

    return train


def of(out: Path) -> list[str]:
    return [json.loads(line)["of"] for line in (out / "drawn.jsonl").read_text().splitlines()]


def test_a_model_of_classes_draws_all_it_knows(
    run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    out, model = tmp_path / "out", models[CLASSES]
    assert run("--model", model, *SMALL) == (0, "")
    assert of(out) == [f"class {place % 5}" for place in range(6)]
    assert "the target's own drawings" in (out / "README.md").read_text()
    words = ["--model", model, "--class-id", 2, "--drafter", out, "--method", "image-eagle"]
    assert main(["image", *map(str, words), "--quiet", "--out", str(tmp_path / "drawn")]) == 0
    drawn = (out / "drawn.jsonl").read_text()
    status, err = run("--model", model, *SMALL, "--start", out, "--steps", 1, out=tmp_path / "b")
    assert (status, err) == (0, "")
    assert (tmp_path / "b" / "drawn.jsonl").read_text() == drawn  # the same seeds


def test_classes_in_ranges_and_a_file_of_drawings(
    run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    words = ("--model", models["nameless"], *SMALL, "--class-id", "3-4", "1")
    assert run(*words, "--drawn", tmp_path / "elsewhere" / "drawn.jsonl")[0] == 0
    assert of(tmp_path / "elsewhere") == ["class 3", "class 4", "class 1"] * 2
    assert not (tmp_path / "out" / "drawn.jsonl").exists()


def test_prompts_of_a_file(run: Run, models: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a red circle\n\n blue square \n")
    assert run("--model", models[TEXT], *SMALL, "--prompts", file)[0] == 0
    assert of(tmp_path / "out") == ["a red circle", "blue square"] * 3
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["hidden_size"], config["lead"], config["num_heads"]) == (32, 6, 1)


def test_pictures_with_words_beside_them(run: Run, models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for place in range(6):
        noise = np.random.default_rng(place).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{place}.png")
        (folder / f"{place}.txt").write_text("a red circle\n" if place else "a blue square")
    words = ("--model", models[TEXT], *SMALL, "--data", folder)
    assert run(*words) == (0, "")
    assert "4 pictures: pictures of photos" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "drawn.jsonl").exists()
    status, err = run(*words, "--held-out", 6, "--samples", 9, out=tmp_path / "b")
    assert status == 2
    assert "has 6 pictures and 6 are held out" in err
    (folder / "3.txt").write_text(" \n")
    assert "'3.txt' is empty; write there" in run(*words, out=tmp_path / "c")[1]
    (folder / "2.txt").unlink()
    status, err = run(*words, out=tmp_path / "c")
    assert status == 1
    assert "'2.png' has no '2.txt' beside it" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class-id", "1", "--prompts", "x.txt"], "--prompts and --class-id were given"),
        (["--class-id", "4-2"], "4-2 is no range of classes"),
        (["--class-id", "cat"], "'cat' is neither a class number nor a range N-M"),
        (["--prompts", "no-such.txt"], "cannot read 'no-such.txt'"),
        (["--samples", "32"], "--samples 32 leaves nothing to learn from: 32 are held out"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--rate", "0"], "rate must be above 0"),
        (["--depth", "two"], "invalid int value: 'two'"),
    ],
)
def test_wrong_usage_ends_with_two_before_anything_is_loaded(
    run: Run, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "IMAGE_LOADER", "no.such:loader")
    status, err = run(*words)
    assert status == 2
    assert said in err


def test_prompts_are_checked_before_the_model_is_loaded(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\n")
    status, err = run("--prompts", file)
    assert (status, "there is no prompt in" in err) == (2, True)
    file.write_text("a red star\na glass star")
    status, err = run("--prompts", file)
    assert (status, "prompt 1: unknown word 'glass'" in err) == (2, True)
    status, err = run("--class-id", 1, out=file)
    assert (status, "--out must be a folder" in err) == (2, True)


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("nameless", [], "say what '"),
        (TEXT, [], "say what '"),
        (CLASSES, ["--class-id", "7"], "class 7 is out of range; give 0 to 4"),
        (TEXT, ["--class-id", "1"], "draws prompts and knows no classes"),
        (CLASSES, ["--heads", "5"], "5 heads on a width of 32"),
    ],
)
def test_what_the_model_does_not_take_ends_with_two(
    run: Run, models: dict[str, Path], kind: str, words: list[str], said: str
) -> None:
    status, err = run("--model", models[kind], *SMALL, *words)
    assert status == 2
    assert said in err


def test_an_empty_folder_and_a_foreign_start(
    run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    status, err = run("--model", models[TEXT], *SMALL, "--data", tmp_path / "empty")
    assert status == 1
    assert "empty" in err
    status, err = run("--model", models[CLASSES], *SMALL, "--start", tmp_path / "empty")
    assert (status, "holds no drafter" in err) == (1, True)
    assert run("--model", models[CLASSES], *SMALL)[0] == 0
    words = ("--start", tmp_path / "out", "--intermediate-size", 64)
    status, err = run("--model", models[CLASSES], *SMALL, *words, out=tmp_path / "b")
    assert (status, "has another intermediate_size" in err) == (1, True)


def test_words_beside_pictures_name_classes_or_are_prompts() -> None:
    classes = ("cat", "dog")
    assert subjects_of_words(["dog", "0"], classes) == [Subject(class_id=1), Subject(class_id=0)]
    assert subjects_of_words(["7", "0"], None) == [Subject(class_id=7), Subject(class_id=0)]
    assert subjects_of_words(["7 cats", "0"], None)[0] == Subject(prompt="7 cats")


def test_prompts_of_the_small_world_are_its_own() -> None:
    prompts = world_prompts(20)
    read = catalog.resolve(catalog.IMAGE_WORDS)
    assert all(read(text) for text in prompts)
    assert len(set(prompts)) == 20
    assert prompts[:5] == world_prompts(5)
