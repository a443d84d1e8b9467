"""The causal network: teacher forcing, cached steps and chunks give the same conditions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adapters.mar.causal import CausalMAR
from adapters.mar.config import CAUSAL
from mmspec.cache import RaggedCache
from mmspec.paired_cache import PairedCache
from tests.adapters.mar.naive_mar import causal_conditions, doubles
from tests.adapters.mar.tiny_mar import (
    BUFFER,
    CELLS,
    causal,
    config_of,
    random_model,
    random_tokens,
)

LABELS = torch.tensor([0, 3])
DROP = torch.tensor([False, True])


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def prefilled(
    model: CausalMAR, cache: RaggedCache, labels: Tensor, drop: Tensor | None = None
) -> Tensor:
    """Condition vectors of token 0, ``(rows, 1, W)``."""
    cache.place(0, BUFFER, BUFFER)
    hidden = model(model.embed_prefix(labels, drop), None, cache)
    return model.conditions(hidden[:, -1:], torch.zeros(1, 1, dtype=torch.long))


def forward_at(
    model: CausalMAR, cache: RaggedCache, tokens: Tensor, starts: list[int], count: int
) -> Tensor:
    """Run ``count`` tokens of each row from its start on; conditions of those after them."""
    start = torch.tensor(starts).unsqueeze(1)
    places = start + torch.arange(count)
    longest = BUFFER + max(starts) + count
    even = len(set(starts)) == 1
    cache.place(BUFFER + starts[0] if even else BUFFER + start[:, 0], count, longest)
    mask = (torch.arange(longest) <= BUFFER + places.unsqueeze(-1)).unsqueeze(1)
    chunk = tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
    hidden = model(model.embed(chunk, places), mask, cache)
    return model.conditions(hidden, places + 1)


def test_conditions_equal_a_naive_network() -> None:
    model, tokens = causal(), random_tokens(2)
    found = model.training_conditions(tokens, LABELS, DROP)
    assert found.shape == (2, CELLS, model.config.decoder_width)
    w = doubles(model)
    for row, label in enumerate((0, None)):
        expected = causal_conditions(w, model.config, tokens[row, :-1], label)
        torch.testing.assert_close(found[row].double(), expected, rtol=1e-5, atol=2e-5)


def test_one_token_at_a_time_equals_teacher_forcing() -> None:
    model, tokens = causal(), random_tokens(2)
    expected = model.training_conditions(tokens, LABELS, DROP)
    cache = RaggedCache(model.config.decoder_depth, BUFFER + CELLS)
    close(prefilled(model, cache, LABELS, DROP), expected[:, :1])
    for place in range(CELLS - 1):
        cache.place(BUFFER + place, 1, BUFFER + place + 1)
        places = torch.tensor([[place]])
        hidden = model(model.embed(tokens[:, place : place + 1], places), None, cache)
        close(model.conditions(hidden, places + 1), expected[:, place + 1 : place + 2])


@pytest.mark.parametrize("sizes", [(11,), (3, 1, 4, 2), (1, 9)])
def test_chunks_equal_teacher_forcing(sizes: tuple[int, ...]) -> None:
    model, tokens = causal(), random_tokens(2)
    expected = model.training_conditions(tokens, LABELS)
    cache = RaggedCache(model.config.decoder_depth, BUFFER + CELLS)
    prefilled(model, cache, LABELS)
    start = 0
    for size in sizes:
        found = forward_at(model, cache, tokens, [start, start], size)
        close(found, expected[:, start + 1 : start + size + 1])
        start += size


def test_rows_may_stand_at_different_places() -> None:
    model, tokens = causal(), random_tokens(2)
    expected = model.training_conditions(tokens, LABELS)
    cache = RaggedCache(model.config.decoder_depth, BUFFER + CELLS)
    prefilled(model, cache, LABELS)
    # Four tokens go in, of which row 0 keeps one and row 1 all: the others are overwritten.
    wrong = tokens.clone()
    wrong[0, 1:] += 5
    forward_at(model, cache, wrong, [0, 0], 4)
    found = forward_at(model, cache, tokens, [1, 4], 3)
    close(found[0], expected[0, 2:5])
    close(found[1], expected[1, 5:8])


def test_both_halves_of_guidance_share_a_cache() -> None:
    model, tokens = causal(), random_tokens(1)
    cache = PairedCache(model.config.decoder_depth, BUFFER + CELLS)
    labels, drop = torch.tensor([3, 3]), torch.tensor([False, True])
    both = tokens.expand(2, -1, -1)
    expected = model.training_conditions(both, labels, drop)
    close(prefilled(model, cache, labels, drop), expected[:, :1])
    cache.place(BUFFER, 1, BUFFER + 1)
    places = torch.zeros(1, 1, dtype=torch.long)
    hidden = model(model.embed(tokens[:, :1], places).expand(2, -1, -1), None, cache)
    close(model.conditions(hidden, places + 1), expected[:, 1:2])
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_a_token_reaches_later_conditions_only() -> None:
    model, tokens = causal(), random_tokens(2)
    before = model.training_conditions(tokens, LABELS)
    for place in (0, 4, CELLS - 1):
        changed = tokens.clone()
        changed[:, place] += 1
        after = model.training_conditions(changed, LABELS)
        assert torch.equal(after[:, : place + 1], before[:, : place + 1])
        assert ((after - before)[:, place + 1 :].abs().amax(-1) > 1e-5).all()


def test_copies_of_the_class_differ_by_position() -> None:
    model = causal()
    prefix = model.embed_prefix(LABELS)
    assert prefix.shape == (2, BUFFER, model.config.decoder_width)
    assert (prefix[:, 0] - prefix[:, 1]).abs().max() > 1e-2
    nobody = model.embed_prefix(LABELS, torch.tensor([True, True]))
    assert torch.equal(nobody[0], nobody[1])
    assert (nobody - prefix).abs().amax((1, 2)).min() > 1e-2


def test_places_outside_the_picture_count_as_the_nearest() -> None:
    model, tokens = causal(), random_tokens(1)[:, :2]
    outside, nearest = torch.tensor([[-1, CELLS]]), torch.tensor([[0, CELLS - 1]])
    assert torch.equal(model.embed(tokens, outside), model.embed(tokens, nearest))
    hidden = torch.zeros(1, 2, model.config.decoder_width)
    assert torch.equal(model.conditions(hidden, outside), model.conditions(hidden, nearest))


def test_chunks_after_others_need_a_mask() -> None:
    model = causal()
    cache = RaggedCache(model.config.decoder_depth, BUFFER + CELLS)
    prefilled(model, cache, LABELS)
    cache.place(BUFFER, 2, BUFFER + 2)
    with pytest.raises(ValueError, match="2 positions over a view of 4 need a mask"):
        model(torch.zeros(2, 2, model.config.decoder_width), None, cache)


def test_dropout_acts_in_training_only() -> None:
    model = random_model(config_of(CAUSAL))
    assert isinstance(model, CausalMAR)
    tokens = random_tokens(2)
    still = model.training_conditions(tokens, LABELS)
    assert torch.equal(model.training_conditions(tokens, LABELS), still)
    model.train()
    first = model.training_conditions(tokens, LABELS)
    assert not torch.equal(model.training_conditions(tokens, LABELS), first)
    dry = random_model(config_of(CAUSAL, dropout=0.0)).train()
    assert isinstance(dry, CausalMAR)
    close(dry.training_conditions(tokens, LABELS), still)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_weight_learns(precision: torch.dtype) -> None:
    model = random_model(config_of(CAUSAL)).train()
    assert isinstance(model, CausalMAR)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        vectors = model.training_conditions(random_tokens(2), LABELS, DROP).flatten(0, 1)
        state = torch.randn(len(vectors), model.config.token_width)
        noise, logits = model.head(state, torch.arange(len(vectors)) * 40, vectors)
    (noise.float().square().sum() + logits.float().square().sum()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_names_follow_those_of_the_masked_network() -> None:
    names = {name.split(".")[0] for name in causal().state_dict()}
    assert names == {
        "class_emb",
        "fake_latent",
        "z_proj",
        "z_proj_ln",
        "decoder_pos_embed_learned",
        "decoder_blocks",
        "decoder_norm",
        "diffusion_pos_embed_learned",
        "diffloss",
    }
