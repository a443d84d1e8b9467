"""Containers, the Llama-style export, sizes read from shapes, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from adapters.llamagen.checkpoints import infer_config, load_gpt, read_weights, save_gpt
from adapters.llamagen.config import CLASSES, SIZES, TEXT, GPTConfig
from adapters.llamagen.gpt import GPT
from tests.adapters.llamagen.tiny_models import (
    KINDS,
    config_of,
    gpt_of,
    inputs_of,
    random_codes,
    random_gpt,
)


def assert_alike(model: GPT, other: GPT) -> None:
    kind = model.config.model_type
    codes, inputs = random_codes(2), inputs_of(kind, 2)
    assert torch.equal(model.loss_logits(codes, inputs), other.loss_logits(codes, inputs))
    assert not other.training
    assert not any(weight.requires_grad for weight in other.parameters())


def llama_style(model: GPT) -> dict[str, Tensor]:
    """The same weights under the names of transformers' Llama."""
    names = {
        "tok_embeddings": "model.embed_tokens",
        "output.": "lm_head.",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w3": "mlp.up_proj",
        "feed_forward.w2": "mlp.down_proj",
        "attention.wo": "self_attn.o_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    out: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        if not name.startswith(("model.", "lm_head.")):
            name = "model." + name
        if "attention.wqkv" in name:
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                out[name.replace("attention.wqkv", f"self_attn.{part}_proj")] = rows.clone()
        else:
            out[name] = value.clone()
    out["model.freqs_cis"] = torch.zeros(3)
    return out


@pytest.mark.parametrize("container", ["model", "module", "state_dict", None, "safetensors"])
@pytest.mark.parametrize("kind", KINDS)
def test_official_files(kind: str, container: str | None, tmp_path: Path) -> None:
    model = gpt_of(kind)
    weights = {**model.state_dict(), "freqs_cis": torch.zeros(2, 2)}
    if container == "safetensors":
        path = tmp_path / "tiny.safetensors"
        save_file({name: value.clone() for name, value in weights.items()}, path)
    else:
        path = tmp_path / "tiny.pt"
        held = weights if container is None else {container: weights, "steps": 7}
        torch.save(held, path)
    found = load_gpt(path, grid=4, n_head=2)
    assert found.config.model_type == kind
    assert found.config.block_size == 16
    assert_alike(model, found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_llama_style_export(kind: str, tmp_path: Path) -> None:
    model = gpt_of(kind)
    save_file(llama_style(model), tmp_path / "model.safetensors")
    said = {"model_type": "llama", "num_attention_heads": 2, "block_size": 16}
    (tmp_path / "config.json").write_text(json.dumps(said))
    assert_alike(model, load_gpt(tmp_path))
    with pytest.raises(ValueError, match="writes 16 tokens and grid=5 asks for 25"):
        load_gpt(tmp_path, grid=5)


@pytest.mark.parametrize("kind", KINDS)
def test_folders_of_ours(kind: str, tmp_path: Path) -> None:
    model = random_gpt(config_of(kind, rope_base=500.0, norm_eps=1e-4))
    save_gpt(model, tmp_path)
    found = load_gpt(tmp_path)
    assert found.config == model.config
    assert_alike(model, found)
    save_gpt(model, tmp_path, torch.bfloat16)
    assert load_gpt(tmp_path).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="writes a grid of 4 x 4, not 5 x 5; leave grid"):
        load_gpt(tmp_path, grid=5)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_released_sizes_are_told_by_their_shapes(name: str, kind: str) -> None:
    config = GPTConfig.named(name, model_type=kind, block_size=576)
    with torch.device("meta"):
        weights = GPT(config).state_dict()
    found = infer_config(weights, grid=24)
    assert found.kv_heads == config.kv_heads
    assert found.ffn_width == config.ffn_width
    same = ("dim", "n_layer", "n_head", "vocab_size", "model_type", "cls_token_num", "grid")
    assert [getattr(found, field) for field in same] == [getattr(config, f) for f in same]


@pytest.mark.parametrize(
    "change", [{"n_kv_head": 1}, {"multiple_of": 32}, {"ffn_dim_multiplier": 1.3}]
)
def test_unusual_sizes_are_told_too(change: dict[str, Any]) -> None:
    config = config_of(CLASSES, **change)
    found = infer_config(GPT(config).state_dict(), grid=4, n_head=2)
    assert (found.kv_heads, found.ffn_width) == (config.kv_heads, config.ffn_width)


def test_one_error_names_every_difference(tmp_path: Path) -> None:
    weights = gpt_of(CLASSES).state_dict()
    del weights["norm.weight"]
    weights["layers.1.attention.wo.weight"] = torch.zeros(3, 3)
    weights["extra"] = torch.zeros(1)
    torch.save({"model": weights}, tmp_path / "tiny.pt")
    with pytest.raises(ValueError, match="does not fit this model") as caught:
        load_gpt(tmp_path / "tiny.pt", grid=4, n_head=2)
    for part in (
        "missing norm.weight",
        "unexpected extra",
        r"layers.1.attention.wo.weight is (3, 3), not (32, 32)",
    ):
        assert part in str(caught.value)


def test_what_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    torch.save(gpt_of(TEXT).state_dict(), path)
    with pytest.raises(
        ValueError, match="2 layers of width 32, which is no released size; give n_h"
    ):
        load_gpt(path, grid=4)
    with pytest.raises(ValueError, match=r"does not say how many tokens.*give grid"):
        load_gpt(path, n_head=2)


class Malicious:
    def __reduce__(self) -> Any:
        return (print, ("code was run",))


def test_files_that_are_not_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.pt"
    torch.save({"model": Malicious()}, path)
    with pytest.raises(ValueError, match="cannot be read safely"):
        read_weights(path)
    assert "code was run" not in capsys.readouterr().out
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read safely"):
        read_weights(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="holds no named tensors, but list"):
        read_weights(path)
    torch.save({"a": 1}, path)
    with pytest.raises(ValueError, match=r"holds no named tensors, but \['a'\]"):
        read_weights(path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="is no LlamaGen transformer"):
        load_gpt(path)
    with pytest.raises(ValueError, match=r"holds no \.safetensors file"):
        read_weights(tmp_path)
    weights = gpt_of(TEXT).state_dict()
    del weights["cls_embedding.uncond_embedding"]
    with pytest.raises(ValueError, match="needs either"):
        infer_config(weights, grid=4, n_head=2)
