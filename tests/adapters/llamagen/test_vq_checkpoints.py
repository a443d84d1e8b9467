from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from adapters.llamagen.vq import VQConfig, VQModel
from adapters.llamagen.vq_checkpoints import build_vq, load_vq, read_vq_weights, save_vq

TINY = VQConfig(
    codebook_size=32, codebook_embed_dim=4, ch=8, ch_mult=(1, 2), z_channels=16, num_groups=4
)


def build() -> VQModel:
    torch.manual_seed(2)
    return VQModel(TINY).eval()


def same(model: VQModel, other: VQModel) -> bool:
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def original_name(name: str) -> str:
    """The name of the original VQGAN; TINY has two levels, so decoder level 0 is `up.1`."""
    for middle, original in (("0", "block_1"), ("1", "attn_1"), ("2", "block_2")):
        name = name.replace(f".mid.{middle}.", f".mid.{original}.")
    for level in range(2):
        name = name.replace(f"encoder.conv_blocks.{level}.", f"encoder.down.{level}.")
        name = name.replace(f"decoder.conv_blocks.{level}.", f"decoder.up.{1 - level}.")
    return name.replace(".res.", ".block.")


@pytest.mark.parametrize("container", [None, "model", "state_dict", "ema", "module"])
def test_official_pickles_load(tmp_path: Path, container: str | None) -> None:
    model, path = build(), tmp_path / "vq.pt"
    state: dict[str, Any] = dict(model.state_dict())
    state["quantize.codebook_used"] = torch.zeros(65536)
    torch.save(state if container is None else {container: state, "steps": 3}, path)
    assert same(load_vq(path, TINY), model)


def test_averaged_weights_come_first(tmp_path: Path) -> None:
    model, path = build(), tmp_path / "vq.pt"
    raw = {name: value + 1 for name, value in model.state_dict().items()}
    torch.save({"model": raw, "ema": model.state_dict(), "optimizer": {"lr": 1.0}}, path)
    assert same(load_vq(path, TINY), model)


def test_safetensors_load(tmp_path: Path) -> None:
    model, path = build(), tmp_path / "vq.safetensors"
    save_file(model.state_dict(), path)
    assert same(load_vq(path, TINY), model)


def test_names_of_the_original_vqgan_load(tmp_path: Path) -> None:
    model, path = build(), tmp_path / "vqgan.ckpt"
    state = {original_name(name): value for name, value in model.state_dict().items()}
    assert "decoder.up.1.block.2.conv1.weight" in state
    torch.save({"state_dict": {**state, "loss.discriminator.weight": torch.zeros(1)}}, path)
    assert same(load_vq(path, TINY), model)


def test_every_mismatch_is_named_at_once() -> None:
    weights: dict[str, Tensor] = dict(build().state_dict())
    del weights["quant_conv.bias"]
    weights["head.weight"] = torch.zeros(1)
    weights["quantize.embedding.weight"] = torch.zeros(16, 4)
    with pytest.raises(ValueError, match="does not fit") as caught:
        build_vq(weights, TINY, "vq.pt")
    message = str(caught.value)
    assert "missing quant_conv.bias" in message
    assert "unknown head.weight" in message
    assert "quantize.embedding.weight is (16, 4), not (32, 4)" in message


def test_folder_round_trip(tmp_path: Path) -> None:
    model = build()
    save_vq(model, tmp_path / "vq")
    loaded = load_vq(tmp_path / "vq")
    assert loaded.config == TINY
    assert same(loaded, model)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert sorted(path.name for path in (tmp_path / "vq").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_number_format_on_disk_is_kept(tmp_path: Path) -> None:
    save_vq(build(), tmp_path, torch.bfloat16)
    loaded = load_vq(tmp_path)
    assert loaded.dtype == torch.bfloat16
    assert loaded.encode(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 4)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"


class Opaque:
    """Something that no safe reader may build."""


def test_unsafe_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vq.pt"
    torch.save({"model": build().state_dict(), "code": Opaque()}, path)
    with pytest.raises(ValueError, match="cannot be read safely"):
        read_vq_weights(path)


def test_file_without_a_shape_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give config, one of VQ_CONFIGS"):
        load_vq(tmp_path / "vq.pt")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama"}, "type 'llama', not 'vq_image_tokenizer'"),
        ({"model_type": "vq_image_tokenizer", "depth": 3}, r"unknown fields \['depth'\]"),
    ],
)
def test_foreign_configs_are_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        load_vq(tmp_path)
