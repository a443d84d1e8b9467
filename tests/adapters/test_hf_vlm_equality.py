"""Greedy output equals transformers' own ``generate``, token for token, for every family."""

from __future__ import annotations

import pytest

from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.adapters.families import BY_NAME, FAMILIES, OTHERS
from tests.adapters.prompts import batch_of, rows_of
from tests.adapters.real_drafters import REAL
from tests.adapters.references import NEW, alone, reference, target_of
from tests.drafters import DRAFTERS

CASES = [(family.name, kind) for family in FAMILIES for kind in family.kinds]


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("count", [1, 3], ids=["single", "ragged"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_greedy_output_equals_generate(name: str, kind: str, count: int, drafter: str) -> None:
    rows, expected = reference(name, kind)
    inputs = batch_of(BY_NAME[name], rows[:count])
    engine = DRAFTERS[drafter].engine(target_of(name), expected[:count])
    got, trace = engine.generate(Request(inputs, Sampling(max_new_tokens=NEW)))
    assert got == expected[:count]
    if drafter == "oracle":
        assert trace.metrics.acceptance_length > 3


@pytest.mark.parametrize("drafter", REAL)
@pytest.mark.parametrize("count", [1, 3], ids=["single", "ragged"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_real_drafter_keeps_the_output(
    name: str, kind: str, count: int, drafter: str
) -> None:
    rows, expected = reference(name, kind)
    inputs = batch_of(BY_NAME[name], rows[:count])
    engine = REAL[drafter].engine(target_of(name), expected[:count])
    got, trace = engine.generate(Request(inputs, Sampling(max_new_tokens=NEW)))
    assert got == expected[:count]
    assert not trace.notes
    if drafter == "draft-model-itself":
        assert trace.metrics.acceptance_length > 3


@pytest.mark.parametrize("drafter", ["none", "flaky", "bush"])
@pytest.mark.parametrize("name", [family.name for family in FAMILIES if family.image])
def test_rows_with_and_without_pictures_share_a_batch(name: str, drafter: str) -> None:
    family = BY_NAME[name]
    rows = [rows_of(family, kind, 1, seed=7)[0] for kind in family.kinds]
    expected = [alone(name, row) for row in rows]
    engine = DRAFTERS[drafter].engine(target_of(name), expected)
    got, _ = engine.generate(Request(batch_of(family, rows), Sampling(max_new_tokens=NEW)))
    assert got == expected


@pytest.mark.parametrize("drafter", ["none", "flaky", "bush"])
@pytest.mark.parametrize("name", [family.name for family in OTHERS])
def test_text_models_of_the_same_build_equal_generate(name: str, drafter: str) -> None:
    rows, expected = reference(name, "text")
    engine = DRAFTERS[drafter].engine(target_of(name), expected)
    inputs = batch_of(BY_NAME[name], rows)
    assert engine.generate(Request(inputs, Sampling(max_new_tokens=NEW)))[0] == expected


@pytest.mark.parametrize("name", BY_NAME)
def test_references_are_no_trivial_loops(name: str) -> None:
    outputs = [tokens for kind in BY_NAME[name].kinds for tokens in reference(name, kind)[1]]
    assert max(len(set(tokens)) for tokens in outputs) >= 8
    assert len({tuple(tokens) for tokens in outputs}) == len(outputs)
