"""The transformer: rotation, names, sizes, conditions, and its mathematics written twice."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from adapters.llamagen.conditioning import causal_mask, left_padded
from adapters.llamagen.config import CLASSES, SIZES, TEXT, GPTConfig
from adapters.llamagen.gpt import GPT, RMSNorm
from image_ar.discrete.rotary import rotate, rotations
from tests.adapters.llamagen.naive import naive_logits
from tests.adapters.llamagen.tiny_models import (
    CELLS,
    KINDS,
    LENGTH,
    NUM_CLASSES,
    UNTURNED,
    VOCAB,
    WIDTH,
    config_of,
    gpt_of,
    inputs_of,
    random_codes,
    random_gpt,
)

# Parameters with 16384 codes: of 1000 classes, of texts of width 2048.
COUNTS = {
    "GPT-B": (110_888_448, 112_282_368),
    "GPT-L": (342_910_976, 345_031_680),
    "GPT-XL": (774_699_520, 777_678_080),
    "GPT-XXL": (1_410_972_672, 1_414_940_160),
    "GPT-XXXL": (3_893_027_840, 3_902_261_760),
    "GPT-1B": (1_199_616_000, 1_205_954_560),
    "GPT-3B": (3_096_659_200, 3_110_249_600),
    "GPT-7B": (6_614_589_440, 6_635_655_168),
}
FFN = (2048, 2816, 3584, 4096, 6912, 5632, 8704, 11008)


def test_rotation_of_a_small_grid() -> None:
    one, slow = (math.cos(1), math.sin(1)), (math.cos(0.01), math.sin(0.01))
    still, gone = (1.0, 0.0), (0.0, 0.0)
    expected = [[gone] * 4, [still] * 4, [still, still, one, slow], [one, slow, still, still]]
    expected.append([one, slow, one, slow])
    table = torch.view_as_real(rotations(2, 8, 1))
    torch.testing.assert_close(table, torch.tensor(expected))


def test_rotation_of_odd_heads() -> None:
    """Heads of 100 channels have 50 pairs: 25 for the row and 25 for the column."""
    table = rotations(3, 100, 120)
    assert table.shape == (129, 50)
    assert not table[:120].any()
    at = table[120 + 3 * 2 + 1].angle()
    torch.testing.assert_close(at[25:], 10000.0 ** (-torch.arange(25) / 25))
    assert at[0] == 2


@torch.no_grad()
@pytest.mark.parametrize("kind", [TEXT, UNTURNED])
def test_turned_away_texts_are_read_as_their_mean(kind: str) -> None:
    """With the released zero rows no score of the text depends on queries and keys."""
    model, codes = random_gpt(config_of(kind)), torch.zeros(1, CELLS, dtype=torch.long)
    width = model.config.dim
    before = model.loss_logits(codes, inputs_of(kind, 1))[:, 0]
    for layer in model.layers:
        layer.attention.wqkv.weight[: 2 * width].neg_()
        layer.attention.wqkv.weight[:width].mul_(3)
    after = model.loss_logits(codes, inputs_of(kind, 1))[:, 0]
    assert torch.equal(after, before) == (kind == TEXT)


def test_rotation_turns_neighbouring_channels() -> None:
    x = torch.arange(8.0).view(1, 1, 1, 8)
    angle = torch.tensor([0.3, 1.0, 2.0, 0.0])
    turned = rotate(x, torch.polar(torch.ones(4), angle).view(1, 1, 1, 4)).view(4, 2)
    for pair, (a, b) in enumerate(x.view(4, 2).tolist()):
        c, s = math.cos(angle[pair]), math.sin(angle[pair])
        torch.testing.assert_close(turned[pair], torch.tensor([a * c - b * s, b * c + a * s]))
    assert rotate(x.bfloat16(), torch.ones(1, 1, 1, 4, dtype=torch.complex64)).dtype == (
        torch.bfloat16
    )


@pytest.mark.parametrize("place", range(len(SIZES)), ids=list(SIZES))
def test_released_sizes(place: int) -> None:
    name = list(SIZES)[place]
    for kind, count in zip(KINDS, COUNTS[name], strict=True):
        config = GPTConfig.named(name, model_type=kind)
        assert config.ffn_width == FFN[place]
        assert config.cls_token_num == (1 if kind == CLASSES else 120)
        with torch.device("meta"):
            model = GPT(config)
        assert sum(weight.numel() for weight in model.parameters()) == count


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_shapes_are_the_released_ones(kind: str) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (VOCAB, 32),
        "output.weight": (VOCAB, 32),
        "norm.weight": (32,),
    }
    if kind == CLASSES:
        shapes["cls_embedding.embedding_table.weight"] = (NUM_CLASSES + 1, 32)
    else:
        shapes["cls_embedding.uncond_embedding"] = (LENGTH, WIDTH)
        shapes["cls_embedding.cap_proj.fc1.weight"] = (32, WIDTH)
        shapes["cls_embedding.cap_proj.fc2.weight"] = (32, 32)
    for layer in range(2):
        start = f"layers.{layer}."
        shapes[start + "attention.wqkv.weight"] = (96, 32)
        shapes[start + "attention.wo.weight"] = (32, 32)
        shapes[start + "feed_forward.w1.weight"] = (88, 32)
        shapes[start + "feed_forward.w3.weight"] = (88, 32)
        shapes[start + "feed_forward.w2.weight"] = (32, 88)
        shapes[start + "attention_norm.weight"] = (32,)
        shapes[start + "ffn_norm.weight"] = (32,)
    found = {name: tuple(value.shape) for name, value in gpt_of(kind).state_dict().items()}
    assert found == shapes


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_a_naive_transformer(kind: str) -> None:
    model, inputs, codes = gpt_of(kind), inputs_of(kind, 2), random_codes(2)
    found = model.loss_logits(codes, inputs)
    assert found.dtype == torch.float32
    assert found.shape == (2, CELLS, VOCAB)
    for row in range(2):
        expected = naive_logits(model, codes[row, :-1].tolist(), inputs, row)
        torch.testing.assert_close(found[row].double(), expected, atol=1e-4, rtol=1e-4)


def test_fewer_key_heads_equal_repeated_ones() -> None:
    small = random_gpt(config_of(CLASSES, n_kv_head=1))
    full = random_gpt(config_of(CLASSES))
    weights = small.state_dict()
    for name in [name for name in weights if "wqkv" in name]:
        query, key, value = weights[name].split((32, 16, 16))
        weights[name] = torch.cat([query, key, key, value, value])
    full.load_state_dict(weights)
    codes, inputs = random_codes(2), inputs_of(CLASSES, 2)
    torch.testing.assert_close(small.loss_logits(codes, inputs), full.loss_logits(codes, inputs))


def test_the_norm_is_computed_in_float32() -> None:
    norm = RMSNorm(4, 1e-5).bfloat16()
    x = torch.tensor([300.0, 1.0, -2.0, 0.5]).bfloat16()
    expected = (x.float() / torch.sqrt(x.float().square().mean() + 1e-5)).bfloat16()
    assert torch.equal(norm(x), expected)


def test_a_new_model_is_uniform_until_its_output_is_drawn() -> None:
    model = GPT(config_of(CLASSES))
    codes, inputs = random_codes(1), inputs_of(CLASSES, 1)
    assert not model.loss_logits(codes, inputs).any()
    model.reset_parameters(torch.Generator().manual_seed(1), zero_output=False)
    first = model.output.weight.clone()
    assert model.eval().loss_logits(codes, inputs).std() > 0
    model.reset_parameters(torch.Generator().manual_seed(1), zero_output=False)
    assert torch.equal(first, model.output.weight)


def test_dropout_acts_in_training_only() -> None:
    model = random_gpt(config_of(CLASSES))
    codes, inputs = random_codes(1), inputs_of(CLASSES, 1)
    assert torch.equal(model.loss_logits(codes, inputs), model.loss_logits(codes, inputs))
    model.train()
    assert not torch.equal(model.loss_logits(codes, inputs), model.loss_logits(codes, inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind: str) -> None:
    model = random_gpt(config_of(kind)).train()
    drop = torch.tensor([True, False, False])
    model.loss_logits(random_codes(3), inputs_of(kind, 3), drop).logsumexp(-1).sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_features_move_to_the_end() -> None:
    features = torch.arange(1.0, 9.0).view(2, 4, 1)
    moved, mask = left_padded(features, torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]))
    assert moved.flatten(1).tolist() == [[0, 0, 1, 2], [5, 6, 7, 8]]
    assert mask.tolist() == [[False, False, True, True], [True] * 4]


def test_padding_is_seen_by_itself_only() -> None:
    mask = causal_mask(torch.tensor([[False, True]]), 4)[0, 0].int().tolist()
    assert mask == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]]


def test_dropped_conditions() -> None:
    drop = torch.tensor([True, False])
    model, inputs = gpt_of(CLASSES), inputs_of(CLASSES, 2)
    table = model.state_dict()["cls_embedding.embedding_table.weight"]
    found = model.embed_condition(inputs, drop)
    assert torch.equal(found[:, 0], table[[NUM_CLASSES, 1]])
    model, inputs = gpt_of(TEXT), inputs_of(TEXT, 2)
    null = model.state_dict()["cls_embedding.uncond_embedding"].expand(2, -1, -1)
    dropped = model.embed_condition(inputs, drop)
    torch.testing.assert_close(dropped[0], model.embed_condition({"caption": null})[0])
    torch.testing.assert_close(dropped[1], model.embed_condition(inputs)[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "x2i"}, "model_type must be 'c2i' or 't2i'"),
        ({"n_head": 3}, "dim must be a multiple of n_head"),
        ({"n_head": 16}, "multiple of 4"),
        ({"n_kv_head": 4}, "n_head must be a multiple of n_kv_head"),
        ({"block_size": 15}, "square"),
        ({"cls_token_num": 2}, "cls_token_num must be 1"),
        ({"condition_rope": "one"}, "condition_rope must be 'zero' or 'identity'"),
    ],
)
def test_sizes_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(CLASSES, **change)


def test_configs_survive_json() -> None:
    config = config_of(TEXT, ffn_dim_multiplier=1.3)
    assert GPTConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match=r"unknown fields \['depth'\]"):
        GPTConfig.from_dict({**config.to_dict(), "depth": 3})
    with pytest.raises(ValueError, match=r"needs \['dim', 'n_head', 'n_layer'\]"):
        GPTConfig.from_dict({})
    with pytest.raises(ValueError, match="no size is named 'GPT-Z'; there are GPT-B"):
        GPTConfig.named("GPT-Z")
