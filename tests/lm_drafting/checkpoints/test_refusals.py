"""What does not fit is refused before a network is built, and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lm_drafting.checkpoints import FORMATS, read, sniff
from tests.lm_drafting.checkpoints import makers
from tests.lm_drafting.checkpoints.makers import HIDDEN, LLAMA, VOCAB

EAGLE3 = {**LLAMA, "draft_vocab_size": makers.DRAFT_VOCAB}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_size": 32},
            r"fc\.weight is 16 x 32, but hidden_size x 2\*hidden_size is 32 x 64",
        ),
        ({"intermediate_size": 32}, r"gate_proj\.weight is 24 x 16, but intermediate_size x"),
        (
            {"num_key_value_heads": 4},
            r"k_proj\.weight is 8 x 16, but num_key_value_heads\*head_dim",
        ),
        (
            {"num_attention_heads": 8, "head_dim": 4},
            r"q_proj\.weight is 16 x 16, but num_attention",
        ),
        ({"num_attention_heads": 5}, "head_dim is undecided"),
        ({"num_attention_heads": None}, "num_attention_heads is undecided"),
        ({"num_attention_heads": "4"}, "num_attention_heads is '4', which is no positive number"),
        ({"num_attention_heads": 16}, "head_dim 1 is odd"),
        ({"num_key_value_heads": 3}, "4 is no multiple of num_key_value_heads 3"),
        ({"num_hidden_layers": 2}, "num_hidden_layers 2 is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope type 'llama3' is not"),
        ({"rope_scaling": {"type": "yarn", "factor": 8.0}}, "rope type 'yarn' is not"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope type 'linear' is not"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "rope type 'one per layer'"),
        ({"partial_rotary_factor": 0.5}, "rope on 0.5 of a head"),
        ({"use_sliding_window": True}, "sliding windows are not supported"),
        ({"layer_types": ["sliding_attention"]}, "sliding windows are not supported"),
    ],
)
def test_configurations_that_contradict(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = makers.write(tmp_path, makers.eagle(), {**LLAMA, **changes})
    with pytest.raises(ValueError, match=f"no usable EAGLE-1/2 drafter: .*{message}"):
        read(folder)


def test_every_mismatch_is_in_one_message(tmp_path: Path) -> None:
    weights = makers.eagle()
    weights["layers.1.mlp.up_proj.weight"] = weights.pop("layers.0.mlp.up_proj.weight")
    config = {**LLAMA, "intermediate_size": 32, "hidden_act": "gelu"}
    with pytest.raises(ValueError, match="no usable") as caught:
        read(makers.write(tmp_path, weights, config))
    for part in (
        "hidden_act 'gelu'",
        "missing weights layers.0.mlp.up_proj.weight",
        "unknown weights layers.1.mlp.up_proj.weight",
        "layers.0.mlp.gate_proj.weight is 24 x 16",
        "layers.0.mlp.down_proj.weight is 16 x 24",
    ):
        assert part in str(caught.value)


def test_without_a_config_the_heads_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_attention_heads is undecided") as caught:
        read(makers.write(tmp_path, makers.eagle(), None))
    assert "hidden_size is" not in str(caught.value)


def test_a_vocabulary_that_nothing_tells(tmp_path: Path) -> None:
    weights = makers.without(makers.eagle(), "embed_tokens.weight")
    with pytest.raises(ValueError, match="vocab_size is undecided"):
        read(makers.write(tmp_path, weights, makers.without(LLAMA, "vocab_size")))


def test_half_of_an_optional_group(tmp_path: Path) -> None:
    weights = makers.without(makers.vispec(), "imadpt.v_proj.bias", "imadpt.o_proj.weight")
    with pytest.raises(ValueError, match=r"missing weights imadpt\.o_proj\.weight, imadpt\.v_proj"):
        read(makers.write(tmp_path, weights, LLAMA))


def test_queries_that_the_configuration_counts_otherwise(tmp_path: Path) -> None:
    config = {**LLAMA, "vispec_num_query_tokens": 5}
    with pytest.raises(ValueError, match=r"imadpt\.q is 2 x 4 x 4, but num_q x .* is 5 x 4 x 4"):
        read(makers.write(tmp_path, makers.vispec_nemo(), config))


def test_steps_that_the_configuration_counts_otherwise(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ar_proj\.2\.weight is 48 x 64, but k\*hidden_size"):
        read(makers.write(tmp_path, makers.flash(k=3), {**LLAMA, "k": 5}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"draft_vocab_size": 13},
            r"lm_head\.weight is 12 x 16, .*d2t is 12, but draft_vocab_size",
        ),
        ({"vocab_size": 41}, "t2d is 40, but vocab_size is 41"),
        ({"vocab_size": 30}, "d2t does not lead to distinct tokens below 30"),
        ({"target_hidden_size": 8}, r"fc\.weight is 16 x 48.*hidden_size 16 is not target_hidden"),
        ({"eagle_aux_hidden_state_layer_ids": [2, 9]}, r"but hidden_size x 2\*target_hidden_size"),
        ({"eagle_aux_hidden_state_layer_ids": "last"}, "'last' are no list of whole numbers"),
        ({"norm_before_fc": True}, r"missing weights input_norm\.weight"),
        ({"eagle_config": {"norm_before_fc": True}}, r"missing weights input_norm\.weight"),
        ({"fc_norm": True}, r"missing weights fc_norm\.0\.weight, fc_norm\.1\.weight, fc_norm\.2"),
    ],
)
def test_eagle3_configurations_that_contradict(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(makers.write(tmp_path, makers.eagle3(), {**EAGLE3, **changes}))


def test_a_norm_that_the_configuration_denies(tmp_path: Path) -> None:
    weights = makers.eagle3() | makers.draw({"input_norm.weight": (3 * HIDDEN,)})
    config = {**EAGLE3, "norm_before_fc": False}
    with pytest.raises(
        ValueError, match=r"norm_before_fc is false, but input_norm\.weight is there"
    ):
        read(makers.write(tmp_path, weights, config))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        # Target ids where offsets belong.
        ("d2t", torch.arange(12) * 3 + 2, "must hold offsets"),
        ("d2t", -torch.arange(12), "d2t does not lead to distinct tokens"),
        ("t2d", torch.arange(VOCAB) < 12, "t2d does not mark the tokens that d2t leads to"),
    ],
)
def test_vocabulary_maps(tmp_path: Path, name: str, value: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(makers.write(tmp_path, makers.eagle3() | {name: value}, EAGLE3))


def test_a_small_vocabulary_needs_its_map(tmp_path: Path) -> None:
    weights = makers.without(makers.eagle3(), "d2t", "t2d")
    with pytest.raises(ValueError, match="d2t is missing, and draft_vocab_size 12 is not"):
        read(makers.write(tmp_path, weights, EAGLE3))


def test_the_same_weight_under_two_names(tmp_path: Path) -> None:
    weights = makers.eagle()
    weights["model.fc.weight"] = weights["fc.weight"].clone()
    with pytest.raises(ValueError, match=r"both fc\.weight"):
        read(makers.write(tmp_path, weights, LLAMA))


def test_a_compressor_is_for_ours_only(tmp_path: Path) -> None:
    weights = makers.eagle() | {"compressor.queries": torch.ones(3)}
    with pytest.raises(ValueError, match=r"unknown weights compressor\.queries"):
        read(makers.write(tmp_path, weights, LLAMA))


def test_many_unknown_weights_are_counted(tmp_path: Path) -> None:
    weights = makers.eagle() | makers.draw({f"heads.{index:02}": (1,) for index in range(20)})
    with pytest.raises(ValueError, match=r"unknown weights heads\.00, .*heads\.07 and 12 more"):
        read(makers.write(tmp_path, weights, LLAMA))


def test_unknown_formats_say_what_was_found_and_what_is_known() -> None:
    config = {"model_type": "medusa", "speculators_model_type": "dflash"}
    with pytest.raises(ValueError, match=r"medusa.*dflash.*medusa_head\.0.*known are mmspec") as e:
        sniff(config, {"medusa_head.0": torch.ones(1)})
    for row in FORMATS:
        assert (row.name in str(e.value)) is not row.refused


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (["fc.weight", "residual", "layers.0.self_attn.q_proj.weight"], "HiViS"),
        (["layers.slot_embeddings", "fc_gate.weight"], "FLASH with slot embeddings"),
        (["mask_hidden", "layers.0.hidden_norm.weight"], "P-EAGLE"),
    ],
)
def test_known_relatives_are_refused_by_name(keys: list[str], name: str) -> None:
    with pytest.raises(ValueError, match=f"this is a {name} drafter, which is not supported"):
        sniff({}, keys)


def test_an_adaptor_narrower_than_the_target(tmp_path: Path) -> None:
    weights = makers.vispec() | makers.draw(
        {
            "imadpt.q": (2, 2, 4),
            "imadpt.k_proj.weight": (8, HIDDEN),
            "imadpt.v_proj.weight": (8, HIDDEN),
            "imadpt.o_proj.weight": (HIDDEN, 8),
        }
    )
    with pytest.raises(ValueError, match=r"imadpt\.o_proj\.weight is 16 x 8, but hidden_size x"):
        read(makers.write(tmp_path, weights, LLAMA))
