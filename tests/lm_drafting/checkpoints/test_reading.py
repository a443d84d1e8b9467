"""Every project's files become the same names, and say what they said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lm_drafting.checkpoints import Checkpoint, read
from tests.lm_drafting.checkpoints import makers
from tests.lm_drafting.checkpoints.makers import DIM, DRAFT_VOCAB, HIDDEN, INNER, LLAMA, VOCAB

SHAPE = {
    "hidden_size": HIDDEN,
    "vocab_size": VOCAB,
    "intermediate_size": INNER,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": DIM,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "max_position_embeddings": 128,
}
EAGLE = {
    **SHAPE,
    "bias": True,
    "qkv_bias": False,
    "input_layernorm": False,
    "final_norm": False,
    "compressor": None,
}
VISPEC: dict[str, Any] = {
    **EAGLE,
    "qkv_bias": True,
    "num_q": 2,
    "adaptor": True,
    "adaptor_heads": 4,
    "adaptor_head_dim": DIM,
    "adaptor_bias": True,
    "compressor": {"kind": "queries", "num_q": 2, "heads": 4, "qkv_bias": True},
}
EAGLE3 = {
    **SHAPE,
    "draft_vocab_size": DRAFT_VOCAB,
    "target_hidden_size": HIDDEN,
    "target_layers": None,
    "norm_before_residual": False,
    "norm_before_fc": False,
    "fc_norm": False,
    "norm_output": False,
    "mapping": True,
    "qkv_bias": False,
    "attention_bias": False,
    "compressor": None,
}


def same(found: Checkpoint, weights: makers.Weights) -> None:
    """Exactly these weights, bit for bit."""
    assert found.weights.keys() == weights.keys()
    for key, value in weights.items():
        assert torch.equal(found.weights[key], value), key


@pytest.mark.parametrize("how", ["safetensors", "bin", "shards"])
def test_eagle(tmp_path: Path, how: str) -> None:
    weights = makers.eagle()
    found = read(makers.write(tmp_path, weights, LLAMA, how=how))
    assert found.kind == "eagle"
    assert found.config == EAGLE
    del weights["embed_tokens.weight"]
    same(found, weights)
    assert found.origin == f"EAGLE-1/2 from {tmp_path}"


def test_eagle_of_vicuna_states_no_key_heads_and_of_qwen_has_biases(tmp_path: Path) -> None:
    sparse = makers.without(LLAMA, "num_key_value_heads", "vocab_size", "rope_scaling")
    weights = makers.eagle(fc_bias=False, biases=True)
    weights["layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(DIM // 2)
    found = read(makers.write(tmp_path, weights, sparse, how="bin"))
    assert found.config == {**EAGLE, "bias": False, "qkv_bias": True}
    assert not any("inv_freq" in key for key in found.weights)


def test_speculators_eagle(tmp_path: Path) -> None:
    official = makers.without(makers.eagle(), "embed_tokens.weight")
    renamed = {key.replace("layers.0.", "transformer."): official[key] for key in official}
    renamed = {key.replace("fc.", "fusion_fc.", 1): renamed[key] for key in renamed}
    config = {
        "architectures": ["EagleSpeculator"],
        "speculators_model_type": "eagle",
        "fusion_bias": True,
        "layernorms": False,
        "norm_before_residual": False,
        "transformer_layer_config": LLAMA,
    }
    found = read(makers.write(tmp_path, renamed, config))
    assert (found.kind, found.config) == ("eagle", EAGLE)
    same(found, official)


@pytest.mark.parametrize("how", ["safetensors", "bin"])
@pytest.mark.parametrize("num_q", [2, 5])
def test_vispec(tmp_path: Path, how: str, num_q: int) -> None:
    weights = makers.vispec(num_q)
    assert len(weights) == 22
    config = {**LLAMA, "rope_theta": 1000000.0, "qkv_bias": True}
    found = read(makers.write(tmp_path, weights, config, how=how))
    assert found.kind == "vispec"
    queries = {"num_q": num_q, "compressor": {**VISPEC["compressor"], "num_q": num_q}}
    assert found.config == {**VISPEC, **queries, "rope_theta": 1000000.0}
    same(found, makers.without(weights, "embed_tokens.weight"))


def test_vispec_without_a_config_has_the_heads_of_its_adaptor(tmp_path: Path) -> None:
    found = read(makers.write(tmp_path, makers.vispec(), None))
    defaults = {"rms_norm_eps": 1e-6, "max_position_embeddings": 2048}
    assert found.config == {**VISPEC, **defaults}
    assert "no config.json: defaults of Llama assumed" in found.origin


def test_vispec_of_nemo(tmp_path: Path) -> None:
    weights = makers.vispec_nemo()
    config = {
        **LLAMA,
        "num_hidden_layers": 28,
        "draft_num_hidden_layers": 1,
        "vispec_num_query_tokens": 2,
        "head_dim": DIM,
    }
    found = read(makers.write(tmp_path, weights, config))
    compressor = {**VISPEC["compressor"], "qkv_bias": False}
    biases = {"bias": False, "qkv_bias": False, "adaptor_bias": False, "compressor": compressor}
    assert found.config == {**VISPEC, **biases, "input_layernorm": True, "final_norm": True}
    assert torch.equal(found.weights["imadpt.q"], weights["img_adaptor.query"])
    assert torch.equal(found.weights["norm.weight"], weights["norm.weight"])
    assert torch.equal(found.weights["img_fc.bias"], torch.zeros(HIDDEN))
    assert "img_fc.bias is not stored: zeros made" in found.origin


@pytest.mark.parametrize("how", ["safetensors", "bin"])
def test_eagle3(tmp_path: Path, how: str) -> None:
    weights = makers.eagle3()
    found = read(makers.write(tmp_path, weights, {**LLAMA, "draft_vocab_size": 12}, how=how))
    assert (found.kind, found.config) == ("eagle3", EAGLE3)
    same(found, weights)


def test_eagle3_of_specforge_for_a_target_with_three_axes(tmp_path: Path) -> None:
    weights = makers.eagle3() | makers.draw(
        {f"fc_norm.{index}.weight": (HIDDEN,) for index in range(3)}
    )
    layers = {"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 24, 13]}}
    config = {**makers.SPECFORGE, **layers, "fc_norm": True, "norm_output": True}
    found = read(makers.write(tmp_path, weights, config))
    assert found.config == {
        **EAGLE3,
        "rope_theta": 1000000,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 0]},
        "fc_norm": True,
        "norm_output": True,
        "target_layers": (2, 14, 25),
        "target": {"model_type": "qwen2_5_vl"},
    }
    same(found, weights)
    assert "outputs of layers [1, 24, 13]" in found.origin


def test_eagle3_of_speculators(tmp_path: Path) -> None:
    weights = makers.eagle3("layers.0.") | makers.draw(
        {
            "embed_tokens.weight": (VOCAB, HIDDEN),
            "verifier_lm_head.weight": (VOCAB, HIDDEN),
            "verifier_norm.weight": (HIDDEN,),
            "input_norm.weight": (3 * HIDDEN,),
        }
    )
    config = {**makers.SPECULATORS, "norm_before_fc": True, "embed_requires_grad": True}
    found = read(makers.write(tmp_path, weights, config))
    assert found.config == {
        **EAGLE3,
        "rope_theta": 500000.0,
        "norm_before_residual": True,
        "norm_before_fc": True,
        "target": {"name": "Qwen/Qwen3-8B"},
    }
    same(found, makers.eagle3() | {"input_norm.weight": weights["input_norm.weight"]})
    assert "trained with an embedding table of its own" in found.origin


def test_eagle3_of_modelopt_stores_no_mask(tmp_path: Path) -> None:
    weights = makers.eagle3("layers.0.")
    stored = {key: value for key, value in weights.items() if key != "t2d"}
    stored["d2t"] = stored["d2t"].to(torch.int32)
    found = read(makers.write(tmp_path, stored, {**LLAMA, "draft_vocab_size": DRAFT_VOCAB}))
    same(found, makers.eagle3())
    assert found.weights["d2t"].dtype == torch.int64
    assert "t2d is not stored" in found.origin


def test_eagle3_inside_a_causal_language_model(tmp_path: Path) -> None:
    weights = makers.eagle3("layers.0.")
    outside = ("lm_head.weight", "d2t", "t2d")
    wrapped = {key if key in outside else f"model.{key}": value for key, value in weights.items()}
    found = read(makers.write(tmp_path, wrapped, {**LLAMA, "draft_vocab_size": DRAFT_VOCAB}))
    same(found, makers.eagle3())


@pytest.mark.parametrize("maps", [True, False])
def test_eagle3_with_the_whole_vocabulary(tmp_path: Path, maps: bool) -> None:
    """The official module registers both maps there and fills neither."""
    weights = makers.without(makers.eagle3(), "d2t", "t2d")
    weights |= makers.draw({"lm_head.weight": (VOCAB, HIDDEN)})
    if maps:
        weights["d2t"] = torch.zeros(VOCAB, dtype=torch.int64)
        weights["t2d"] = torch.zeros(VOCAB, dtype=torch.bool)
    found = read(makers.write(tmp_path, weights, LLAMA))
    assert found.config["draft_vocab_size"] == VOCAB
    assert found.config["mapping"] is maps
    assert ("t2d" in found.weights) is maps
    assert not maps or bool(found.weights["t2d"].all())


@pytest.mark.parametrize("how", ["safetensors", "bin"])
def test_flash(tmp_path: Path, how: str) -> None:
    weights = makers.flash(k=3, groups=2)
    # The official file carries the target's numbers for parts that the layer does not have.
    config = {**LLAMA, "num_key_value_heads": 4, "k": 3, "n_layers": 1, "num_heads": 4}
    found = read(makers.write(tmp_path, weights, config, how=how))
    assert found.kind == "flash"
    assert found.config == {
        **SHAPE,
        "intermediate_size": 4 * HIDDEN,
        "num_key_value_heads": 2,
        "k": 3,
        "bias": True,
        "official": True,
        "compressor": None,
    }
    same(found, makers.without(weights, "embed_tokens.weight", "layers.rotary_emb.inv_freq"))


@pytest.mark.parametrize(
    ("kind", "network", "weights"),
    [
        ("eagle", "EagleHead", makers.eagle()),
        ("specvlm", "SpecVLMNetwork", makers.eagle()),
        ("eagle3", "Eagle3Network", makers.eagle3()),
        ("flash", "FlashNetwork", makers.flash()),
        ("vispec", "ViSpecNetwork", makers.vispec()),
    ],
)
def test_ours_keep_what_else_they_say_and_their_compressor(
    tmp_path: Path, kind: str, network: str, weights: makers.Weights
) -> None:
    own = {"compressor": {"kind": "pool", "ratio": 2}, "target": {"name": "toy", "hidden_size": 16}}
    marks = {"model_type": kind, "architectures": [network]}
    weights = weights | {"compressor.queries": torch.ones(3)}
    found = read(makers.write(tmp_path, weights, {**LLAMA, **marks, **own}))
    assert found.kind == kind
    assert own.items() <= found.config.items()
    assert torch.equal(found.weights["compressor.queries"], torch.ones(3))


@pytest.mark.parametrize(
    ("said", "theta"),
    [
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_theta": 1e4}, 5e5),
        ({"rope_scaling": {"type": "default"}, "rope_theta": 7e4}, 7e4),
        ({}, 1e4),
    ],
)
def test_rotary_base_is_found_where_transformers_keeps_it(
    tmp_path: Path, said: dict[str, Any], theta: float
) -> None:
    found = read(makers.write(tmp_path, makers.eagle(), {**LLAMA, **said}))
    assert found.config["rope_theta"] == theta
    assert found.config["rope_scaling"] is None
