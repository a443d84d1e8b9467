"""Every `mmspec` line of README and docs parses, knows its options, and runs if it is cheap."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from mmspec import catalog
from mmspec.cli import OK, _parser, main
from mmspec.pipelines.prompts import check_prompts
from tests.docs.pages import ROOT, commands

LINES = dict(commands())
SAMPLES = ROOT / "adapters" / "tiny" / "samples"
FAMILY = {"caption": "text", "image": "image", "video": "video"}
# Seconds each, on bundled models; what trains, measures or needs weights of the Hub is parsed only.
CHEAP = (
    "mmspec methods",
    "mmspec caption holiday/",
    "mmspec caption cat.jpg --prompt",
    "mmspec caption cat.jpg --json",
    "mmspec image --model tiny-c2i --list-classes",
    "mmspec image --model tiny-mar --list-classes",
    'mmspec image "a large red circle above a small blue square" --compare',
)


def parsed(words: list[str]) -> Namespace:
    parser, module = _parser(words)
    assert module is not None, f"no such command: {words[0]}"
    return parser.parse_args(words)


@pytest.mark.parametrize("line", LINES)
def test_lines_parse(line: str) -> None:
    parsed(LINES[line])


@pytest.mark.parametrize("line", [line for line in LINES if LINES[line][0] in FAMILY])
def test_options_of_methods_exist(line: str) -> None:
    args = parsed(LINES[line])
    if args.method != "auto":
        row = catalog.get(args.method, FAMILY[LINES[line][0]])
        names = {name for name, _, _ in (pair.partition("=") for pair in given_options(args))}
        assert names <= {*row.all_options, *catalog.PLAN_OPTIONS}


def test_prompts_for_bundled_models_are_in_their_world() -> None:
    checked = 0
    for words in LINES.values():
        if words[0] in ("image", "video"):
            args = parsed(words)
            if args.prompts and args.model in catalog.embedded(FAMILY[words[0]]):
                check_prompts(args.prompts, args.model, FAMILY[words[0]])
                checked += 1
    assert checked
    with pytest.raises(ValueError, match="dragon"):
        check_prompts(["a dragon moves up"], "tiny-video", "video")


def given_options(args: Namespace) -> list[str]:
    options = getattr(args, "option", None) or []
    return [pair if isinstance(pair, str) else f"{pair[0]}=" for pair in options]


@pytest.mark.parametrize("start", CHEAP)
def test_cheap_lines_run(
    start: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = next(line for line in LINES if line.startswith(start))
    shutil.copy(SAMPLES / "picture-5.jpg", tmp_path / "cat.jpg")
    (tmp_path / "holiday").mkdir()
    shutil.copy(SAMPLES / "picture-1.png", tmp_path / "holiday")
    monkeypatch.chdir(tmp_path)
    assert main(LINES[line]) == OK
    assert capsys.readouterr().out.strip()
