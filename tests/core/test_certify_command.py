"""`mmspec certify` end to end on the embedded model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.tiny.world.render import render
from adapters.tiny.world.scene import scene_from_seed
from mmspec.cli import main

SMALL = ["--samples", "5", "--positions", "4", "--max-new-tokens", "12", "--batch-size", "4"]


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "scene.png"
    render(scene_from_seed(1)).save(path)
    return str(path)


def test_report_and_document(picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["certify", picture, "--method", "prompt-lookup", "--json", *SMALL])
    printed = capsys.readouterr()
    document = json.loads(printed.out.splitlines()[-1])
    assert status == (0 if document["lossless"] else 1)
    assert document["command"] == "certify"
    assert {check["name"]: check["passed"] for check in document["checks"]} == {
        "greedy": True,
        "law": True,
        "pathwise": True,
    }
    assert "rows equal the plain run" in printed.err


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", "nowhere.png", "--method", "magic"]) == 2
    assert main(["certify", "nowhere.png", "--positions", "1"]) == 2
    assert main(["certify", "nowhere.png", *SMALL]) == 1
    assert "nowhere.png" in capsys.readouterr().err
