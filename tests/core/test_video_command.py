"""`mmspec video` on tiny random Wan models: files, documents, exit codes, every bad input."""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from PIL import Image

from adapters.wan.target import WanBlocks
from mmspec import catalog, films
from mmspec.cli import main
from mmspec.commands import video_output
from tests.core.video_target import BLOCKS, HEIGHT, HERE, WIDTH

Run = Callable[..., tuple[int, str, str]]
PAIR = ("--method", "sdvg", "--drafter", "draft", "--reward", "negative-total-variation")


@pytest.fixture(autouse=True)
def loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "VIDEO_LOADER", f"{HERE}:load")
    monkeypatch.setattr(catalog, "VIDEO_SCORER", f"{HERE}:judge")
    monkeypatch.setattr(catalog, "VIDEO_WORDS", f"{HERE}:read_words")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mmspec video` on the toy, into a folder of its own."""

    def video(*words: object) -> tuple[int, str, str]:
        line = ["video", *(str(word) for word in words)]
        if "--out" not in line:
            line += ["--out", str(tmp_path / "out")]
        if "--model" not in line:
            line += ["--model", "toy"]
        status = main(line)
        said = capsys.readouterr()
        return status, said.out, said.err

    return video


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read(path: Path) -> tuple[int, tuple[int, int], float, dict[str, str]]:
    """Frames, size, rate and settings of a file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        settings = json.loads(container.metadata["comment"])
        count = sum(1 for _ in container.decode(stream))
        return count, (stream.width, stream.height), float(stream.average_rate or 0), settings


def test_videos_are_written_with_their_settings(run: Run, tmp_path: Path) -> None:
    status, out, err = run("a ball", "a star", "--blocks", 1, "--num-videos", 2, "--seed", 3)
    assert status == 0
    names = ["0000-a-ball", "0001-a-ball", "0002-a-star", "0003-a-star"]
    assert files(tmp_path / "out") == [f"{name}.mp4" for name in names]
    assert [Path(line).stem for line in out.splitlines()] == names
    count, size, rate, settings = read(tmp_path / "out" / "0002-a-star.mp4")
    assert (count, size, rate) == (9, (WIDTH, HEIGHT), 8.0)
    assert (settings["prompt"], settings["seed"], settings["model"]) == ("a star", "5", "toy")
    assert (settings["method"], settings["decisions"]) == ("none", "forced")
    assert "auto chose none" in err
    assert "video codec: libx264" in err or "video codec: mpeg4" in err


def test_last_line_is_the_contract_document(run: Run, tmp_path: Path) -> None:
    words = (*PAIR, "--threshold", "inf", "--compare", "--json", "--seed", 1, "--fps", 24)
    status, out, err = run("a ball", *words)
    assert status == 0
    document = json.loads(out.splitlines()[-1])
    assert len(out.splitlines()) == 1
    assert (document["command"], document["method"]) == ("video", "sdvg")
    assert document["lossless"] is False
    assert document["baseline"]["identical"] is True
    assert document["speedup"] > 0
    (output,) = document["outputs"]
    assert (output["text"], output["tokens"], output["fps"]) == (None, BLOCKS, 24.0)
    blocks = output["blocks"]
    assert [(block["block"], block["decision"]) for block in blocks] == [
        (0, "forced"),
        (1, "regenerated"),
        (2, "regenerated"),
    ]
    assert blocks[0]["score"] is None
    assert all(block["score"] < 0 and block["seconds"] > 0 for block in blocks[1:])
    assert "identical to plain decoding: yes" in err
    assert "not lossless: lossy" in err
    assert "blocks by the target" in err
    assert files(tmp_path / "out") == ["0000-a-ball.mp4", "0000-a-ball.plain.mp4"]
    assert read(Path(output["path"]))[2] == 24.0


def test_timelines_as_a_strip_and_on_the_frames(run: Run, tmp_path: Path) -> None:
    words = (*PAIR, "--threshold=-inf", "--strip", "--burn-in", "--num-frames", 21, "--seed", 0)
    status, _, err = run("a ball", *words)
    assert status == 0
    assert files(tmp_path / "out") == ["0000-a-ball.mp4", "0000-a-ball.strip.png"]
    count, size, _, settings = read(tmp_path / "out" / "0000-a-ball.mp4")
    assert (count, size) == (21, (12 * WIDTH, 12 * HEIGHT))
    assert settings["decisions"] == "forced, accepted"
    strip = Image.open(tmp_path / "out" / "0000-a-ball.strip.png")
    assert strip.text["prompt"] == "a ball"
    assert strip.width > 2 * 192
    assert "accepted" in err


def test_prompts_from_files_and_stdin(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "prompts.txt"
    listed.write_text("a star\n\n  a red star \n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("a ball\n"))
    status, out, _ = run("-", "--prompts", listed, "--blocks", 1, "--quiet")
    assert status == 0
    stems = [Path(line).stem for line in out.splitlines()]
    assert stems == ["0000-a-ball", "0001-a-star", "0002-a-red-star"]


def test_scores_of_both_sides(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "embedded_folder", lambda *given: "toy")
    words = ("a ball", "--model", "tiny-video", "--score", "--compare", "--json", "--blocks", 1)
    status, out, err = run(*words)
    assert status == 0
    document = json.loads(out.splitlines()[-1])
    assert document["quality"] == {"attribute_accuracy": 0.5, "motion": 0.25}
    assert document["baseline"]["quality"] == document["quality"]
    assert "attribute accuracy" in err


def test_prompts_beyond_a_reward_s_window_are_warned_of_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.REWARDS, "short", f"{HERE}:short_sighted")
    pair = ("--method", "sdvg", "--drafter", "draft", "--reward", "short")
    status, _, err = run("a red star", "a red ball", *pair, "--blocks", 2, "--seed", 0)
    assert status == 0
    line = "mmspec: warning: the reward reads the first 2 tokens of a prompt; this one has 3"
    assert err.count(line) == 1
    assert run("a star", *pair, "--blocks", 2)[2].count("warning") == 0


def test_what_was_committed_is_saved_when_memory_runs_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = WanBlocks.denoise, iter(range(99))

    def full(self: WanBlocks, *given: Any) -> torch.Tensor:
        if next(count) == 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, *given)

    monkeypatch.setattr(WanBlocks, "denoise", full)
    status, out, err = run("a ball", "a star", "--json", "--strip", "--seed", 0)
    assert status == 1
    assert "'a ball' stopped in block 2 of 3, blocks 0 to 1 are kept: memory ran out" in err
    assert "1 video kept in" in err
    assert "Traceback" not in err
    names = ["0000-a-ball.unfinished.mp4", "0000-a-ball.unfinished.strip.png"]
    assert files(tmp_path / "out") == names
    assert read(tmp_path / "out" / names[0])[0] == 21
    (output,) = json.loads(out.splitlines()[-1])["outputs"]
    assert len(output["blocks"]) == 2
    assert "memory ran out" in output["error"]


def test_interruption_keeps_committed_blocks(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = WanBlocks.denoise, iter(range(99))

    def stop(self: WanBlocks, *given: Any) -> torch.Tensor:
        if next(count) == 2:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(WanBlocks, "denoise", stop)
    status, _, err = run("a ball", "--seed", 0)
    assert status == 1
    assert "interrupted; 1 video kept in" in err
    assert files(tmp_path / "out") == ["0000-a-ball.unfinished.mp4"]


def test_full_disk_names_what_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = films.save_mp4, iter(range(9))

    def full_at_second(*given: Any) -> str:
        if next(count) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given)

    monkeypatch.setattr(video_output, "save_mp4", full_at_second)
    status, _, err = run("a ball", "a star", "--blocks", 1, "--seed", 0)
    assert status == 1
    assert "0001-a-star.mp4': No space left on device; 1 video kept in" in err
    assert "Traceback" not in err
    assert files(tmp_path / "out") == ["0000-a-ball.mp4"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to show: give a PROMPT or --prompts FILE"),
        ([""], "the prompt is empty"),
        (["a purple star", "--model", "tiny-video"], "the prompt: unknown word 'purple'"),
        (["a", "--blocks", "0"], "between 1 and 1,000"),
        (["a", "--blocks", "2", "--num-frames", "9"], "--blocks or --num-frames, not both"),
        (["a", "--num-frames", "20"], "the first block has 9 frames, every later one 12; use 9 or"),
        (["a", "--width", "40"], "width must be a multiple of 16"),
        (["a", "--fps", "0"], "above 0"),
        (["a", "--threshold", "high"], "'high' is not a number; infinite ones are allowed"),
        (["a", "--threshold", "nan"], "'nan' is not a number"),
        (["a", "--threshold", "1"], "method 'none' has no option threshold"),
        (["a", "--method", "magic"], "unknown method 'magic'; known methods: none, draft-only"),
        (["a", "--method", "sdvg"], "method 'sdvg' needs a smaller video model"),
        (["a", "--drafter", "draft"], "name the method that the drafter is for"),
        (["a", "--option", "k"], "--option takes NAME=VALUE, got 'k'"),
        (["a", "--setting", "k"], "--setting takes NAME=VALUE, got 'k'"),
        ([*PAIR[:4], "a", "--reward", "beauty"], "unknown reward 'beauty'"),
        ([*PAIR[:4], "a", "--reward", "hpsv2"], "reward 'hpsv2' needs its weights"),
        (["a", "--reward", "judge"], "method 'none' compares no reward; methods that do: sdvg"),
        (["a", "--reward-weights", "x"], "reward_weights belong to a reward"),
        (["a", "--score"], "--score needs a model of the small world: tiny-video"),
        (["a", "--draft-length", "2"], "unrecognized arguments: --draft-length 2"),
        (["--prompts", "no-such-file.txt"], "cannot read 'no-such-file.txt': No such file"),
    ],
)
def test_wrong_usage_ends_with_two(run: Run, words: list[str], said: str) -> None:
    status, out, err = run(*words)
    assert status == 2
    assert said in err
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "missing"], "there is no file or folder 'missing'"),
        (["--method", "first-block", "--drafter", "steps"], "do not make the same blocks"),
        (["--method", "first-block", "--drafter", "shape"], "do not make the same blocks"),
        ([*PAIR], "give threshold= for scorer 'negative-total-variation'"),
    ],
)
def test_failed_work_ends_with_one(run: Run, words: list[str], said: str) -> None:
    status, out, err = run("a ball", *words)
    assert status == 1
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


def test_help_lists_the_methods_of_the_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["video", "--help"]) == 0
    said = capsys.readouterr().out
    assert "sdvg-hybrid" in said
    assert "eagle" not in said
    assert "tiny-video" in said
