"""Every code block of README and docs runs; every command line in them parses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lm_drafting.checkpoints import KNOWN
from mmspec.cli import _parser

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)\)")


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{path.name}-{number}", text)
        for path in DOCUMENTS
        for number, (kind, text) in enumerate(BLOCK.findall(path.read_text(encoding="utf-8")))
        if kind == language
    ]


def command_lines() -> list[str]:
    lines = [line for _, text in blocks("bash") for line in text.splitlines()]
    return [line for line in lines if line.startswith("mmspec ")]


@pytest.mark.parametrize(("name", "code"), blocks("python"), ids=lambda value: value[:20])
def test_python_blocks_run(name, code, tmp_path, monkeypatch):
    (tmp_path / "adapters").symlink_to(ROOT / "adapters")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, name, "exec"), {"__name__": name})


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_parse(line):
    words = shlex.split(line.partition("|")[0], comments=True)[1:]
    parser, module = _parser(words)
    parser.parse_args(words)
    assert module is not None


def test_every_known_drafter_is_listed_with_its_target():
    text = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    for drafter in KNOWN:
        if drafter.method != "MSD":  # recognised, but not run as it was trained
            assert drafter.name in text
            assert drafter.target in text


def test_links_lead_somewhere():
    for path in DOCUMENTS:
        for link in LINK.findall(path.read_text(encoding="utf-8")):
            assert link.startswith("http") or (path.parent / link).exists(), f"{path.name}: {link}"
