"""`mmspec train tiny` calls the scripts of the embedded models with folders that fit together."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from mmspec import catalog
from mmspec.cli import main
from mmspec.commands.train import NOT_EMBEDDED, TINY_MODELS


@pytest.mark.parametrize("part", TINY_MODELS)
def test_every_script_exists_and_takes_its_arguments(part: str, monkeypatch, tmp_path) -> None:
    seen: list[list[str]] = []
    resolve = catalog.resolve
    script, _ = TINY_MODELS[part]
    monkeypatch.setattr(
        catalog, "resolve", lambda path: seen.append if path == script else resolve(path)
    )
    aside = part in NOT_EMBEDDED
    place = tmp_path / "work" / part / "model" if aside else tmp_path / "w" / part
    folders = ["--out", str(tmp_path / "w"), "--work", str(tmp_path / "work")]
    assert main(["train", "tiny", part, *folders, "--threads", "1"]) == 0
    (words,) = seen
    assert not any("{" in word for word in words)
    assert words[words.index("--out") + 1] == str(place)
    goes_on = "wan/drafter" if part == "wan/alone" else part
    assert words[words.index("--work") + 1] == str(tmp_path / "work" / goes_on)
    module = importlib.import_module(script.partition(":")[0])
    if hasattr(module, "_options"):
        options = module._options(words)
        assert options.out == place
        vq = getattr(options, "vq", None) or tmp_path / "w" / "llamagen" / "vq"
        assert Path(vq) == tmp_path / "w" / "llamagen" / "vq"
        vae = getattr(options, "vae", None) or tmp_path / "w" / "mar" / "vae"
        assert Path(vae) == tmp_path / "w" / "mar" / "vae"
