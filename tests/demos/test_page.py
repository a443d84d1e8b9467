"""How the page is served: to this machine only, within limits, and from an installed package."""

from __future__ import annotations

import argparse
import importlib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from demos import page
from demos.app import TABS
from demos.settings import Lazy, Settings
from mmspec.cli import main
from mmspec.commands import demo as command
from mmspec.media import read_media

ROOT = Path(__file__).resolve().parents[2]


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_only_this_machine_is_let_in_unless_asked() -> None:
    assert arguments().host == "127.0.0.1"
    assert arguments("--host", "0.0.0.0").host == "0.0.0.0"
    given: dict[str, Any] = {}

    class Demo:
        def queue(self, **_: Any) -> Demo:
            return self

        def launch(self, **options: Any) -> None:
            given.update(options)

    page.launch(Demo())
    assert given["server_name"] == "127.0.0.1"
    assert given["share"] is False
    assert given["max_file_size"] == page.MAX_FILE_BYTES == page.LIMITS.max_file_bytes


def test_every_family_has_a_model_of_its_own() -> None:
    args = arguments("--model", "a/b", "--drafter", "c", "--image-model", "d", "--dtype", "float16")
    assert Settings.of(args) == Settings("a/b", "c", dtype="float16")
    image = Settings.of(args, "image")
    assert (image.model, image.drafter) == ("d", None)
    assert {tab.FAMILY for tab in TABS} == {"text", "image", "video", "methods"}


def test_a_model_is_loaded_once_and_only_when_wanted() -> None:
    calls: list[int] = []
    lazy = Lazy(lambda: calls.append(1) or "model")
    assert calls == []
    assert lazy.get() == lazy.get() == "model"
    assert calls == [1]


def test_a_model_that_fails_to_load_fails_again_with_its_reason() -> None:
    def load() -> str:
        raise ValueError("no such model")

    lazy = Lazy(load)
    for _ in range(2):
        with pytest.raises(ValueError, match="no such model"):
            lazy.get()


def test_samples_are_pictures_first_and_can_be_read() -> None:
    found = page.samples()
    kinds = [read_media(path, 1).is_video for path in found]
    assert kinds == sorted(kinds)
    assert any(kinds)
    assert not all(kinds)


def test_without_gradio_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name == "gradio":
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert main(["demo"]) == 2
    assert 'pip install "mmspec[demo]"' in capsys.readouterr().err


def test_the_package_carries_the_demo() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert "demos" in tools["setuptools"]["packages"]["find"]["include"]
    assert "*.css" in tools["setuptools"]["package-data"]["*"]
    style = resources.files("demos").joinpath("style.css").read_text()
    assert ".dark" in style
    assert "http" not in style
