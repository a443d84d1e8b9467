"""Wan targets from folders and from files of training programs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from adapters.wan.checkpoints import save_folder
from adapters.wan.loading import TextEncoder, load_target, load_text_encoder
from adapters.wan.names import to_original
from adapters.wan.rebuilding import RebuiltWan
from adapters.wan.target import WanBlocks
from tests.adapters.wan.tiny_wan import TEXT_WIDTH, random_vae, random_wan


def encode(prompt: str) -> Tensor:
    return torch.ones(1, 7, TEXT_WIDTH)


def test_a_folder_and_an_official_file_give_one_model(tmp_path: Path) -> None:
    model = random_wan(num_layers=1)
    save_folder(model, tmp_path / "ours")
    save_folder(random_vae(), tmp_path / "shared" / "vae")
    names = {f"model.{name}": value for name, value in to_original(model.state_dict()).items()}
    save_file(
        {name: value.contiguous() for name, value in names.items()}, tmp_path / "w.safetensors"
    )
    ours = load_target(tmp_path / "ours", tmp_path / "shared", encoder=encode)
    official = load_target(
        tmp_path / "w.safetensors", tmp_path / "shared", encoder=encode, heads=2, rebuild=2
    )
    assert isinstance(ours.model, WanBlocks)
    assert isinstance(official.model, RebuiltWan)
    assert official.model.vae is official.vae
    assert ours.format == official.format
    theirs = official.model.wan.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())
    assert ours.request("a", 2, 32, 48).shape == (4, 3, 4, 6)


def test_what_is_missing_or_does_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no text_encoder and no tokenizer"):
        load_text_encoder(tmp_path)
    with pytest.raises(ValueError, match="leave out window"):
        load_target(tmp_path, tmp_path, rebuild=3, window=6)


def test_states_after_the_prompt_are_zero(caplog: pytest.LogCaptureFixture) -> None:
    def tokenize(prompt: str, max_length: int = 99, **rest: Any) -> dict[str, Any]:
        words = prompt.split()[:max_length]
        if max_length == 99:
            return {"input_ids": words}
        mask = (torch.arange(max_length) < len(words)).long()[None]
        return {"input_ids": mask, "attention_mask": mask}

    class Model(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, ids: Tensor, mask: Tensor) -> Any:
            return SimpleNamespace(last_hidden_state=torch.ones(1, ids.shape[1], 3))

    encoder = TextEncoder(Model(), tokenize, 6)
    assert encoder("two words").sum((0, 2)).tolist() == [3, 3, 0, 0, 0, 0]
    assert not caplog.records
    for _ in range(2):
        assert encoder("one " * 7).sum() == 18
    (record,) = caplog.records
    assert "the text encoder reads the first 6 tokens" in record.getMessage()
