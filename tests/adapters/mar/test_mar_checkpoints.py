"""Files: official ones, folders of ours, and what is said of broken ones."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from adapters.mar.checkpoints import load_mar, load_vae, save_mar, save_vae
from adapters.mar.config import MASKED
from adapters.mar.vae_keys import to_official
from tests.adapters.mar.tiny_mar import (
    COLUMNS,
    ROWS,
    VARIANTS,
    config_of,
    random_model,
    random_vae,
)

GRID = (ROWS, COLUMNS)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_official_file_gives_the_averaged_weights(tmp_path: Path, variant: str) -> None:
    config = config_of(variant, decoder_heads=2)
    averaged, last = (random_model(config, seed).state_dict() for seed in (1, 2))
    path = tmp_path / "checkpoint-last.pth"
    rest = {"optimizer": {"state": {}}, "epoch": 3, "args": argparse.Namespace(seed=1)}
    torch.save({"model": last, "model_ema": averaged, **rest}, path)
    model = load_mar(path, heads=2, grid=GRID)
    assert model.config == config
    same(model.state_dict(), averaged)
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    torch.save({"model": last}, path)
    same(load_mar(path, heads=2, grid=GRID).state_dict(), last)


@pytest.mark.parametrize("variant", VARIANTS)
def test_folder_gives_the_same_model_back(tmp_path: Path, variant: str) -> None:
    model = random_model(config_of(variant, mlp_ratio=2.5))
    save_mar(model, tmp_path)
    loaded = load_mar(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    same(loaded.state_dict(), model.state_dict())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    file = load_mar(tmp_path / "model.safetensors", heads=1, grid=GRID)
    same(file.state_dict(), model.state_dict())


def test_number_format_on_disk_is_kept(tmp_path: Path) -> None:
    model = random_model(config_of(MASKED))
    save_mar(model, tmp_path, torch.bfloat16)
    assert load_mar(tmp_path).dtype == torch.bfloat16
    assert model.dtype == torch.float32
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"


def test_every_weight_that_does_not_fit_is_named(tmp_path: Path) -> None:
    weights = random_model(config_of(MASKED)).state_dict()
    del weights["encoder_blocks.1.attn.qkv.weight"], weights["mask_token"]
    weights["mask_token"] = torch.zeros(1, 1, 5)
    weights["extra"] = torch.zeros(1)
    path = tmp_path / "mar.pth"
    torch.save({"model_ema": weights}, path)
    with pytest.raises(ValueError, match="does not fit this model") as error:
        load_mar(path, heads=1, grid=GRID)
    for part in (
        "missing encoder_blocks.1.attn.qkv.weight",
        "unexpected extra",
        "mask_token is (1, 1, 5), not (1, 1, 24)",
        "mar.pth",
    ):
        assert part in str(error.value)


class Opaque:
    """Something that no safe reader may build."""


def test_broken_and_unsafe_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mar.pth"
    for load in (load_mar, load_vae):
        with pytest.raises(ValueError, match=r"mar\.pth cannot be read safely"):
            load(path)
        path.write_bytes(b"PK\x03\x04 not a checkpoint")
        with pytest.raises(ValueError, match=r"mar\.pth cannot be read safely"):
            load(path)
        torch.save({"model": {"weight": torch.ones(1)}, "code": Opaque()}, path)
        with pytest.raises(ValueError, match=r"mar\.pth cannot be read safely"):
            load(path)
        torch.save({"model": {"weight": 3}}, path)
        with pytest.raises(ValueError, match=r"no named tensors, but \['weight'\]"):
            load(path)
        path.unlink()


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    save_mar(random_model(config_of(MASKED)), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read safely"):
        load_mar(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot be read as the config"),
        ("[]", "holds no named fields, but list"),
        ('{"architectures": ["LlamaForCausalLM"]}', r"of \['LlamaForCausalLM'\], not of MAR"),
        ('{"architectures": ["MAR"], "depth": 3}', r"unknown fields \['depth'\]"),
    ],
)
def test_foreign_folders_are_refused(tmp_path: Path, config: str, message: str) -> None:
    with pytest.raises(ValueError, match="cannot be read as the config"):
        load_mar(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        load_mar(tmp_path)


def test_autoencoder_folder_is_one_of_diffusers(tmp_path: Path) -> None:
    vae = random_vae()
    save_vae(vae, tmp_path)
    loaded = load_vae(tmp_path, patch=2)
    assert loaded.patch == 2
    assert loaded.scale == vae.scale
    same(loaded.model.state_dict(), vae.model.state_dict())
    same(AutoencoderKL.from_pretrained(tmp_path).state_dict(), vae.model.state_dict())
    save_vae(vae, tmp_path, torch.bfloat16)
    assert load_vae(tmp_path).dtype == torch.bfloat16


def test_official_autoencoder_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official names in a small shape: reading the full one takes seconds."""
    vae = random_vae()
    shape = {key: value for key, value in vae.model.config.items() if not key.startswith("_")}
    monkeypatch.setattr("adapters.mar.checkpoints.KL_16", shape)
    path = tmp_path / "kl16.ckpt"
    official = to_official(vae.model.state_dict())
    torch.save({"model": {**official, "loss.logvar": torch.zeros(())}}, path)
    loaded = load_vae(path)
    same(loaded.model.state_dict(), vae.model.state_dict())
    assert not loaded.training
    broken: dict[str, Any] = {**official, "encoder.down.7.block.0.conv1.weight": torch.ones(1)}
    del broken["decoder.up.2.block.0.conv1.weight"]
    torch.save({"model": broken}, path)
    with pytest.raises(ValueError, match="does not fit this autoencoder") as error:
        load_vae(path)
    assert "missing decoder.up_blocks.0.resnets.0.conv1.weight" in str(error.value)
    assert "unexpected encoder.down.7.block.0.conv1.weight" in str(error.value)


def test_folders_of_other_models_are_no_autoencoders(tmp_path: Path) -> None:
    save_mar(random_model(config_of(MASKED)), tmp_path)
    with pytest.raises(ValueError, match="is of None, not of a diffusers AutoencoderKL"):
        load_vae(tmp_path)
