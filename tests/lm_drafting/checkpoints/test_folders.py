"""Files are opened safely, and broken ones are told apart."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lm_drafting.checkpoints import KNOWN, fetch, read_config, read_weights
from tests.lm_drafting.checkpoints import makers
from tests.lm_drafting.checkpoints.makers import LLAMA


class Intruder:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "got in")


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"fc.weight": Intruder(trace)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="was refused, since reading it safely failed"):
        read_weights(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.ones(1)]])
def test_a_pickle_of_something_else(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="something other than named tensors"):
        read_weights(tmp_path)


def test_safetensors_come_before_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"junk")
    makers.write(tmp_path, {"a": torch.ones(2)}, None)
    assert list(read_weights(tmp_path)) == ["a"]


def test_shards_are_joined(tmp_path: Path) -> None:
    weights = makers.eagle3()
    found = read_weights(makers.write(tmp_path, weights, None, how="shards"))
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], weights[key]) for key in weights)


def change_index(folder: Path, key: str, place: str) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][key] = place
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("key", "place", "message"),
    [
        ("fc.weight", "../secret.safetensors", "points outside its folder: ../secret"),
        ("absent.weight", "model-00001-of-00002.safetensors", r"differ in \['absent\.weight'\]"),
        ("fc.weight", "model-00009.safetensors", "model-00009.safetensors cannot be read"),
    ],
)
def test_an_index_that_lies(tmp_path: Path, key: str, place: str, message: str) -> None:
    makers.write(tmp_path, makers.eagle(), None, how="shards")
    change_index(tmp_path, key, place)
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"junk", "model.safetensors cannot be read"),
        ("pytorch_model.bin", b"junk", "was refused"),
        ("model.safetensors.index.json", b"{}", "has no weight_map"),
        ("README.md", b"", "has none of model.safetensors, "),
    ],
)
def test_broken_weights(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path)


def test_configurations(tmp_path: Path) -> None:
    assert read_config(tmp_path) == {}
    makers.write(tmp_path, makers.eagle(), LLAMA)
    assert read_config(tmp_path) == LLAMA
    for content, message in (("{", "is not valid JSON"), ("[]", "holds no JSON object")):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            read_config(tmp_path)


def test_a_folder_is_taken_as_it_is_and_a_name_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, patterns=allow_patterns)
        if name == "nobody/nothing":
            raise OSError("offline")
        return str(tmp_path)

    hub = SimpleNamespace(snapshot_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert fetch(tmp_path) == tmp_path
    assert not asked
    assert fetch("someone/drafter") == tmp_path
    assert not any(pattern.endswith((".py", "*")) for pattern in asked["patterns"])
    with pytest.raises(ValueError, match=r"no drafter folder 'nobody/nothing'.*offline"):
        fetch("nobody/nothing")


def test_known_drafters_are_named_once_with_a_target_each() -> None:
    assert len({row.name for row in KNOWN}) == len(KNOWN)
    for row in KNOWN:
        assert row.kind in ("eagle", "eagle3", "vispec")
        assert row.name.count("/") == row.target.count("/") == 1
