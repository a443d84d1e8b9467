"""The masked network: its mathematics written twice, and what it may and may not look at."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.mar.config import MASKED, MARConfig
from adapters.mar.mar import MAR
from tests.adapters.mar.naive_mar import doubles, masked_conditions
from tests.adapters.mar.tiny_mar import (
    CELLS,
    CLASSES,
    config_of,
    masked,
    random_model,
    random_tokens,
)

LABELS = torch.tensor([0, 3, 1, 4])
_LINEAR, _BLOCK = r"\.(weight|bias)", r"_blocks\.\d+\."
NAMES = (
    r"class_emb\.weight",
    r"fake_latent",
    r"mask_token",
    r"(encoder|decoder|diffusion)_pos_embed_learned",
    r"z_proj" + _LINEAR,
    r"z_proj_ln" + _LINEAR,
    r"decoder_embed" + _LINEAR,
    r"(encoder|decoder)_norm" + _LINEAR,
    r"(encoder|decoder)" + _BLOCK + r"norm[12]" + _LINEAR,
    r"(encoder|decoder)" + _BLOCK + r"attn\.(qkv|proj)" + _LINEAR,
    r"(encoder|decoder)" + _BLOCK + r"mlp\.fc[12]" + _LINEAR,
    r"diffloss\.net\.time_embed\.mlp\.[02]" + _LINEAR,
    r"diffloss\.net\.(cond_embed|input_proj)" + _LINEAR,
    r"diffloss\.net\.res" + _BLOCK + r"in_ln" + _LINEAR,
    r"diffloss\.net\.res" + _BLOCK + r"(mlp\.[02]|adaLN_modulation\.1)" + _LINEAR,
    r"diffloss\.net\.final_layer\.(linear|adaLN_modulation\.1)" + _LINEAR,
)


def ragged_masks() -> Tensor:
    """Nothing known, three tokens known, all but one, everything."""
    unknown = torch.ones(4, CELLS, dtype=torch.bool)
    unknown[1, [2, 5, 11]] = False
    unknown[2] = False
    unknown[2, 7] = True
    unknown[3] = False
    return unknown


def test_names_are_the_released_ones() -> None:
    with torch.device("meta"):
        names = list(MAR(MARConfig.named("base")).state_dict())
    for name in names:
        assert sum(bool(re.fullmatch(pattern, name)) for pattern in NAMES) == 1, name
    for pattern in NAMES:
        assert any(re.fullmatch(pattern, name) for name in names), pattern


def test_conditions_equal_a_naive_network() -> None:
    model, unknown, tokens = masked(), ragged_masks(), random_tokens(4)
    drop = torch.tensor([False, True, False, True])
    found = model(tokens, unknown, LABELS, drop)
    assert found.shape == (4, CELLS, model.config.decoder_width)
    w = doubles(model)
    for row in range(4):
        label = None if drop[row] else int(LABELS[row])
        expected = masked_conditions(w, model.config, tokens[row], unknown[row].tolist(), label)
        torch.testing.assert_close(found[row].double(), expected, rtol=1e-5, atol=2e-5)


def test_rows_that_know_different_numbers_equal_rows_run_apart() -> None:
    model, unknown, tokens = masked(), ragged_masks(), random_tokens(4)
    together = model(tokens, unknown, LABELS)
    for row in range(4):
        one = slice(row, row + 1)
        apart = model(tokens[one], unknown[one], LABELS[one])
        torch.testing.assert_close(together[one], apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [1e4, float("nan"), float("inf")])
@pytest.mark.parametrize("rows", [slice(0, 4), slice(1, 2)])
def test_values_of_unknown_tokens_are_not_read(value: float, rows: slice) -> None:
    model, unknown, tokens = masked(), ragged_masks()[rows], random_tokens(4)[rows]
    filled = tokens.masked_fill(unknown.unsqueeze(-1), value)
    labels = LABELS[rows]
    assert torch.equal(model(filled, unknown, labels), model(tokens, unknown, labels))


def test_every_known_token_and_the_class_reach_every_position() -> None:
    model, tokens = masked(), random_tokens(1)
    unknown = ragged_masks()[1:2]
    before = model(tokens, unknown, LABELS[:1])
    changed = tokens.clone()
    changed[0, 5] += 1
    assert ((model(changed, unknown, LABELS[:1]) - before).abs().amax(-1) > 1e-4).all()
    assert ((model(tokens, unknown, LABELS[1:2]) - before).abs().amax(-1) > 1e-4).all()
    # Where a token stands matters, not only what it is.
    moved, elsewhere = tokens.clone(), unknown.clone()
    moved[0, 6], elsewhere[0, 5], elsewhere[0, 6] = tokens[0, 5], True, False
    assert (model(moved, elsewhere, LABELS[:1]) - before).abs().max() > 1e-3


def test_dropped_classes_share_one_vector() -> None:
    model = masked()
    drop = torch.tensor([True, False, True, False])
    vectors = model.class_vectors(LABELS, drop)
    assert torch.equal(vectors[0], model.fake_latent[0])
    assert torch.equal(vectors[2], model.fake_latent[0])
    assert torch.equal(vectors[[1, 3]], model.class_vectors(LABELS[[1, 3]]))
    assert torch.equal(vectors[1], model.class_emb.weight[3])


@pytest.mark.parametrize("change", [{}, {"mlp_ratio": 2.0, "buffer": 1, "rows": 1, "columns": 12}])
def test_dropout_acts_in_training_only(change: dict[str, Any]) -> None:
    model = random_model(config_of(MASKED, **change))
    assert isinstance(model, MAR)
    inputs = (random_tokens(4), ragged_masks(), LABELS)
    assert torch.equal(model(*inputs), model(*inputs))
    still = model(*inputs)
    model.train()
    assert not torch.equal(model(*inputs), model(*inputs))
    dry = random_model(config_of(MASKED, dropout=0.0, **change)).train()
    torch.testing.assert_close(dry(*inputs), still, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_weight_learns(precision: torch.dtype) -> None:
    model = random_model(config_of(MASKED)).train()
    drop = torch.tensor([True, False, False, False])
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        vectors = model(random_tokens(4), ragged_masks(), LABELS % CLASSES, drop).flatten(0, 1)
        state = torch.randn(len(vectors), model.config.token_width)
        noise, logits = model.head(state, torch.arange(len(vectors)) * 7, vectors)
    (noise.float().square().sum() + logits.float().square().sum()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_new_weights_come_from_the_generator() -> None:
    def built() -> dict[str, Tensor]:
        return random_model(config_of(MASKED), seed=3).state_dict()

    first, second = built(), built()
    assert all(torch.equal(first[name], second[name]) for name in first)
    fresh = MAR(config_of(MASKED))
    assert fresh.head.is_untrained
    assert not masked().head.is_untrained
