"""Whatever drafts, greedy pictures of every family are those of its full forwards."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from image_ar.discrete.jacobi import JacobiDrafter
from mmspec.engine import Engine
from mmspec.messages import Plan
from mmspec.pacing import Fixed
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trace import Trace
from tests.adapters.image_models import BY_NAME, NAMES
from tests.adapters.test_guided_decoders import target_of
from tests.drafters import DRAFTERS


@cache
def reference(name: str, scale: float = 3.0) -> list[list[int]]:
    """Greedy pictures, a full forward a token."""
    painter, target = BY_NAME[name], target_of(name)
    forced, ids = dict(target.grid.forced_ids()), painter.allowed(target)
    outputs = []
    for row in range(4):
        output: list[int] = []
        while len(output) < target.grid.length:
            law = painter.laws(target, row, output, scale)[-1]
            output.append(forced.get(len(output), int(ids[law.argmax()])))
        outputs.append(output)
    return outputs


def request_of(name: str, scale: float = 3.0, **options: float) -> Request:
    grid = target_of(name).grid
    sampling = Sampling(max_new_tokens=grid.length, forced_ids=grid.forced_ids(), **options)  # type: ignore[arg-type]
    return Request(BY_NAME[name].inputs(scale=scale), sampling)


def jacobi(name: str) -> JacobiDrafter:
    target = target_of(name)
    return JacobiDrafter(target.grid, target.vocab_size, image_ids=target.image_ids)


@pytest.mark.parametrize("scale", [3.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_plain_decoding_is_greedy(name: str, scale: float) -> None:
    got = Engine(target_of(name)).generate(request_of(name, scale), Trace())[0]
    assert got == reference(name, scale)


@pytest.mark.parametrize("drafter", ["oracle", "flaky", "bush", "static", "foreign"])
@pytest.mark.parametrize("name", NAMES)
def test_fake_drafters_change_nothing(name: str, drafter: str) -> None:
    target, expected = target_of(name), reference(name)
    recipe = DRAFTERS[drafter]
    engine = replace(recipe.engine(target, expected), strict=False)
    trace = Trace()
    assert engine.generate(request_of(name), trace)[0] == expected
    if drafter == "oracle":
        assert trace.metrics.rounds == -(-(target.grid.length - 1) // (recipe.plan.length + 1))


@pytest.mark.parametrize("scale", [3.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_jacobi_changes_nothing(name: str, scale: float) -> None:
    target, trace = target_of(name), Trace()
    engine = Engine(target, jacobi(name), pacer=Fixed(Plan(5)), lookahead=5, strict=True)
    assert engine.generate(request_of(name, scale), trace)[0] == reference(name, scale)
    assert trace.metrics.target_forwards <= target.grid.length


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_draws_the_same_picture_alone_and_in_a_batch(name: str) -> None:
    target = target_of(name)
    together = Engine(target).generate(
        request_of(name, temperature=1.0), Trace(), seeds=[1, 2, 3, 4]
    )[0]
    for row in range(4):
        one = replace(request_of(name, temperature=1.0), inputs=BY_NAME[name].inputs([row]))
        assert Engine(target).generate(one, Trace(), seeds=[row + 1])[0] == [together[row]]


@pytest.mark.parametrize("name", ["emu3", "lumina"])
def test_line_ends_are_inserted_and_nobody_drafted_them(name: str) -> None:
    target, expected = target_of(name), reference(name)
    trace = Trace()
    engine = DRAFTERS["oracle"].engine(target, expected)
    outputs = engine.generate(request_of(name), trace)[0]
    forced = dict(target.grid.forced_ids())
    assert forced
    for output, units in zip(outputs, trace.units, strict=True):
        assert {place: output[place] for place in forced} == forced
        assert {units[place].origin for place in forced} == {"target"}
    kept = sum(unit.origin == "accepted" for row in trace.units for unit in row)
    assert kept == sum(sum(record.accepted) for record in trace.rounds)
    cells = torch.tensor(outputs)[:, target.grid.cell_positions()]
    pixels = target.to_pixels(cells)
    assert pixels.shape[:2] == (4, 3)
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
