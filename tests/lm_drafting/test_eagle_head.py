"""The network against transformers' own layer, official key names, and loading that checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from lm_drafting.building import build_eagle
from lm_drafting.eagle import EagleHead
from lm_drafting.features.drafter import FeatureDrafter
from lm_drafting.storage import describe, load, save
from mmspec.catalog import BuildContext
from tests.lm_drafting.networks import make_network, run_network
from tests.lm_drafting.toy import HIDDEN, VOCAB, ToyTarget

SHAPES = [{}, {"qkv_bias": True, "bias": False}, {"input_layernorm": True}, {"head_dim": 12}]


def llama_layer(head: EagleHead) -> LlamaDecoderLayer:
    """transformers' layer with the head's weights."""
    config = head.config
    layer = LlamaDecoderLayer(
        LlamaConfig(
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            attention_bias=False,
            attn_implementation="eager",
            rms_norm_eps=config.rms_norm_eps,
        ),
        layer_idx=0,
    )
    for name in "qkv" if config.qkv_bias else "":
        width = getattr(layer.self_attn, f"{name}_proj").out_features
        getattr(layer.self_attn, f"{name}_proj").bias = torch.nn.Parameter(torch.zeros(width))
    state = head.state_dict()
    prefix = "layers.0."
    own = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    if not config.input_layernorm:
        layer.input_layernorm = torch.nn.Identity()
    layer.load_state_dict(own)
    return layer.eval()


@pytest.mark.parametrize("options", SHAPES)
def test_equals_transformers_layer(options: dict[str, Any]) -> None:
    head: Any = make_network(**options)
    pairs = torch.randn(2, 7, 2 * HIDDEN, generator=torch.Generator().manual_seed(1))
    rows = head.fuse(pairs[..., :HIDDEN], pairs[..., HIDDEN:])
    layer = llama_layer(head)
    config = LlamaConfig(hidden_size=HIDDEN, num_attention_heads=4, head_dim=head.config.head_dim)
    x = head.fc(pairs)
    rope = LlamaRotaryEmbedding(config)(x, torch.arange(7).unsqueeze(0))
    mask = torch.full((1, 1, 7, 7), float("-inf")).triu(1)
    wanted = layer(x, position_embeddings=rope, attention_mask=mask)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    positions = torch.arange(7).expand(2, -1)
    assert torch.allclose(run_network(head, rows, positions)[0], wanted, atol=1e-5)


def test_state_dict_has_the_official_names() -> None:
    """EAGLE's ``cnets1.py``, without the target's embedding table."""
    attention, mlp = "layers.0.self_attn.", "layers.0.mlp."
    names = {f"{attention}{name}_proj.weight" for name in "qkvo"}
    names |= {f"{mlp}{name}_proj.weight" for name in ("gate", "up", "down")}
    names |= {"fc.weight", "fc.bias", "layers.0.post_attention_layernorm.weight"}
    head = make_network()
    assert set(head.state_dict()) == names
    assert head.state_dict()[f"{attention}k_proj.weight"].shape == (HIDDEN // 2, HIDDEN)
    wrapped = torch.nn.ModuleDict({"drafter": head})
    assert set(wrapped.state_dict()) == {f"drafter.{name}" for name in names}
    wrapped.load_state_dict(wrapped.state_dict())


@pytest.mark.parametrize("options", SHAPES)
def test_save_and_load(tmp_path: Path, options: dict[str, Any]) -> None:
    head, target = make_network(**options), ToyTarget(layers=1)
    save(head, tmp_path, describe(target, "toy-model"), torch.float32)
    again = load(tmp_path, target)
    assert again.config == head.config
    for name, weight in head.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["target"]["name"] == "toy-model"
    assert not any(path.name.endswith(".new") for path in tmp_path.iterdir())


def test_official_pickle_with_a_shared_table_is_read(tmp_path: Path) -> None:
    head = make_network()
    weights = {**head.state_dict(), "embed_tokens.weight": torch.zeros(VOCAB, HIDDEN)}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    official = {
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "vocab_size": VOCAB,
        "bias": True,
        "pretraining_tp": 1,
        "hidden_act": "silu",
    }
    (tmp_path / "config.json").write_text(json.dumps(official))
    again = load(tmp_path, ToyTarget(layers=1))
    assert torch.equal(again.qkv_proj.weight, head.qkv_proj.weight)


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    target = {**config.get("target", {}), **changes.pop("target", {})}
    (folder / "config.json").write_text(json.dumps({**config, **changes, "target": target}))


def test_every_difference_to_the_target_is_named(tmp_path: Path) -> None:
    target = ToyTarget(layers=1)
    save(make_network(), tmp_path, describe(target, "big-model"), torch.float32)
    wrong = {"model_type": "llava", "hidden_size": 64, "vocab_size": 99}
    change_config(tmp_path, target=wrong)
    with pytest.raises(ValueError, match=r"big-model.*llava.*toy.*64.*32.*99.*50"):
        load(tmp_path, target)
    with pytest.raises(ValueError, match="vocabulary 50"):
        FeatureDrafter(make_network(), ToyTarget(layers=1, vocab=60))


def test_missing_and_unknown_weights_are_named(tmp_path: Path) -> None:
    target = ToyTarget(layers=1)
    save(make_network(), tmp_path, describe(target), torch.float32)
    weights = load_file(tmp_path / "model.safetensors")
    weights["extra.weight"] = weights.pop("layers.0.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"gate_up_proj|up_proj.*extra"):
        load(tmp_path, target)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 2},
        {"rope_scaling": {"type": "yarn", "factor": 2.0}},
        {"hidden_act": "gelu"},
    ],
)
def test_what_the_network_cannot_do_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    target = ToyTarget(layers=1)
    save(make_network(), tmp_path, describe(target), torch.float32)
    change_config(tmp_path, **changes)
    with pytest.raises(ValueError, match="not supported"):
        load(tmp_path, target)


def test_build_takes_a_head_or_a_folder(tmp_path: Path) -> None:
    target = ToyTarget(layers=1)
    save(make_network(), tmp_path, describe(target), torch.float32)
    assert build_eagle(BuildContext(target, tmp_path)).name == "eagle"
    assert build_eagle(BuildContext(target, make_network())).needs_features
    with pytest.raises(ValueError, match="needs a drafter"):
        build_eagle(BuildContext(target))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        build_eagle(BuildContext(target, tmp_path))
