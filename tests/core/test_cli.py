"""The command line: documents, streams, exit codes, and every kind of bad input."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmspec.cli import COMMANDS, main

Run = Callable[..., tuple[int, str, str]]
METRICS = {
    "tokens",
    "seconds",
    "tokens_per_second",
    "rounds",
    "target_forwards",
    "acceptance_length",
    "acceptance_rate",
    "draft_seconds",
    "verify_seconds",
    "ideal_speedup",
    "efficiency",
}


@pytest.fixture
def run(llava_folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mmspec caption` on the tiny checkpoint."""

    def caption(*words: object, method: str = "prompt-lookup") -> tuple[int, str, str]:
        line = ["caption", *(str(word) for word in words)]
        line += ["--model", str(llava_folder), "--method", method, "--dtype", "float32"]
        if "--max-new-tokens" not in line:
            line += ["--max-new-tokens", "6"]
        status = main(line)
        said = capsys.readouterr()
        return status, said.out, said.err

    return caption


def test_captions_go_to_stdout_and_the_rest_to_stderr(run: Run, photos: Path) -> None:
    status, out, err = run(photos)
    assert status == 0
    assert len(out.splitlines()) == 3
    assert all(f"{index}.png: " in line for index, line in enumerate(out.splitlines()))
    assert "tokens/s" in err
    assert "exact: the output law" in err
    status, out, err = run(photos / "0.png", "--quiet")
    assert (status, err) == (0, "")
    assert ".png" not in out


def test_last_line_is_the_contract_document(run: Run, photos: Path) -> None:
    status, out, _ = run(photos, "--json", "--compare", "--batch-size", 2, "--seed", 4)
    assert status == 0
    document = json.loads(out.splitlines()[-1])
    assert len(out.splitlines()) == 1
    assert document["command"] == "caption"
    assert document["method"] == "prompt-lookup"
    assert document["lossless"] is True
    assert document["certificate"].startswith("exact")
    assert set(document["metrics"]) >= METRICS
    assert document["baseline"]["identical"] is True
    assert {"seconds", "tokens_per_second"} <= set(document["baseline"])
    assert document["speedup"] > 0
    assert len(document["outputs"]) == 3
    assert {"input", "text", "tokens", "path"} <= set(document["outputs"][0])


def test_without_compare_there_is_no_baseline(run: Run, photos: Path) -> None:
    _, out, _ = run(photos / "0.png", "--json", "--quiet")
    document = json.loads(out)
    assert not {"baseline", "speedup"} & set(document)


def test_files_are_written(run: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    status, _, err = run(photos, "--out", out, "--report", "--compare")
    assert status == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"captions.txt", "captions.json", "trace.json", "report.html"}
    assert json.loads((out / "captions.json").read_text())["command"] == "caption"
    assert len((out / "captions.txt").read_text().splitlines()) == 3
    assert "report.html" in err


def test_colour_and_streaming(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(photos / "0.png")[1]
    assert "\x1b" not in plain
    assert run(photos / "0.png", "--stream")[1] == plain
    assert run(photos, "--stream")[1].count("\n") == 3
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run(photos / "0.png")[1]
    coloured = run(photos / "0.png", "--color", "always", "--draft-length", 1)
    assert "accepted" in coloured[2]


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + crc


def _jpeg(path: Path, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def _bad(kind: str, folder: Path) -> Path:
    path = folder / kind
    if kind == "text.png":
        path.write_text("I am no picture")
    elif kind == "cut.jpg":
        _jpeg(path, 0.5)
    elif kind == "huge.png":
        path.write_bytes(_png_header(100_000, 100_000))
    elif kind == "empty.mp4":
        path.write_bytes(b"")
    elif kind == "no-pictures":
        path.mkdir()
        (path / "notes.md").write_text("nothing")
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing.png", "missing.png"),
        ("no-pictures", "no-pictures"),
        ("text.png", "text.png"),
        ("cut.jpg", "cut.jpg"),
        ("huge.png", "100,000"),
        ("empty.mp4", "empty.mp4"),
    ],
)
def test_bad_files_fail_in_one_line(run: Run, tmp_path: Path, kind: str, said: str) -> None:
    status, out, err = run(_bad(kind, tmp_path), "--quiet")
    assert status == 1
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert err.count("\n") <= 2


def test_one_bad_file_in_a_folder_costs_only_itself(run: Run, photos: Path, tmp_path: Path) -> None:
    for path in photos.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    _bad("text.png", tmp_path)
    status, out, err = run(tmp_path, "--json", "--batch-size", 4)
    assert status == 1
    outputs = json.loads(out.splitlines()[-1])["outputs"]
    assert [output["text"] is None for output in outputs] == [False, False, False, True]
    assert "text.png" in outputs[3]["error"]
    assert "1 of 4 inputs failed" in err


def test_animated_gif_is_used_with_a_note(run: Run, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    status, _, err = run(path)
    assert status == 0
    assert "note:" in err
    assert "first frame" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--temperature", "-1"], "must be at least 0, got -1"),
        (["--temperature", "nan"], "must be at least 0"),
        (["--max-new-tokens", "0"], "between 1 and"),
        (["--top-p", "0"], "above 0 and at most 1"),
        (["--batch-size", "100000"], "between 1 and 256"),
        (["--dtype", "int4"], "invalid choice"),
        (["--no-such-flag"], "unrecognized arguments"),
        (["--method", "magic"], "unknown method 'magic'; known methods: none, prompt-lookup"),
        (["--method", "eagle"], "method 'eagle' needs"),
        (["--stream", "--batch-size", "2"], "--stream shows one input"),
    ],
)
def test_wrong_usage_ends_with_two(
    photos: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    model = [] if "--method" in words and "magic" in words else ["--model", "elsewhere"]
    assert main(["caption", str(photos), *model, *words]) == 2
    said_all = capsys.readouterr()
    assert said in said_all.err
    assert said_all.out == ""


def test_no_input_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption"]) == 2
    assert main(["compose"]) == 2
    assert main([]) == 0
    assert all(name in capsys.readouterr().out for name in list(COMMANDS)[:1])


def test_stray_placeholder_and_missing_model(
    run: Run, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(photos, "--prompt", "look at <image> twice")
    assert status == 2
    assert err.count("\n") == 1
    assert "placeholder '<image>'" in err
    assert main(["caption", str(photos), "--model", "./not-here", "--quiet"]) == 1
    err = capsys.readouterr().err
    assert "not-here" in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(photos: Path) -> None:
    with pytest.raises(ValueError, match="not-here"):
        main(["caption", str(photos), "--model", "./not-here", "--debug"])


def test_interruption_writes_what_is_done(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmspec.pipelines import run as module

    real, count = module.open_source, iter(range(9))

    def stop_at_second(*given: Any) -> Any:
        if next(count) == 1:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, "open_source", stop_at_second)
    status, out, err = run(photos, "--json", "--out", tmp_path)
    assert status == 1
    assert "interrupted" in err
    done = json.loads((tmp_path / "captions.json").read_text())["outputs"]
    assert [output["text"] is not None for output in done] == [True, False]
    assert json.loads(out.splitlines()[-1])["outputs"] == done


def test_methods_as_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    assert "prompt-lookup" in capsys.readouterr().out
    assert main(["methods", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["methods"]
    assert {"name", "family", "lossless", "certificate", "trained", "needs", "paper"} <= set(
        rows[0]
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "--debug" in capsys.readouterr().out


def test_train_help_is_drawn_from_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "eagle", "--help"]) == 0
    assert "Optimiser steps" in capsys.readouterr().out
    assert main(["train", "tiny", "nothing"]) == 2
    assert "unknown part nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("eagle", ["--compressor", "pool"]),
        ("vispec", []),
        ("specvlm", ["--no-pictures"]),
        ("flash", ["--compressor", '{"kind": "latent", "tokens": 2}']),
        ("eagle3", ["--draft-vocab", "8"]),
    ],
)
def test_train_a_drafter_then_caption_with_it(
    run: Run, llava_folder: Path, photos: Path, tmp_path: Path, kind: str, more: list[str]
) -> None:
    words = ["train", kind, *more, "--model", str(llava_folder), "--data", str(photos), "--quiet"]
    recipe = {"steps": 2, "batch": 2, "held-out": 1, "max-new-tokens": 6, "warmup": 1}
    for name, value in recipe.items():
        words += [f"--{name}", str(value)]
    out = tmp_path / "drafter"
    assert main([*words, "--out", str(out), "--dtype", "float32"]) == 0
    status, said, _ = run(photos, "--drafter", out, "--json", "--quiet", "--compare", method="auto")
    document = json.loads(said.splitlines()[-1])
    assert status == 0
    assert document["method"] == kind
    assert document["baseline"]["identical"] is True
    assert f"auto chose {kind}: it fits the given drafter" in document["notes"]
    status = main(["export", str(out), "--model", str(llava_folder), "--out", str(tmp_path / "v")])
    assert status == (0 if kind == "eagle3" else 1)


def test_a_compressor_that_is_no_compressor(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "eagle", "--out", "nowhere", "--samples", "40", "--compressor"]
    assert main([*words, "{pool}"]) == 2
    assert "neither a kind nor JSON" in capsys.readouterr().err
    assert main([*words, "squeeze"]) == 1
    assert "unknown kind of compressor 'squeeze'" in capsys.readouterr().err
