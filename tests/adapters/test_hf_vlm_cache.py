"""After any history of accepted and refused drafts the cache is that of a fresh prefill."""

from __future__ import annotations

import pytest
import torch

from mmspec.messages import Draft
from mmspec.noise import Noise
from mmspec.rules import Exact
from mmspec.sampling import Sampling
from mmspec.state import State
from mmspec.token_target import Request, TokenTarget
from tests.adapters.families import BY_NAME, FAMILIES
from tests.adapters.prompts import Row, batch_of
from tests.adapters.references import NEW, reference, target_of
from tests.drafters import DRAFTERS

NAMES = [family.name for family in FAMILIES]
ROUNDS = 5


def played(name: str, rows: list[Row], expected: list[list[int]], drafter: str) -> State:
    """The state after a few rounds."""
    target, recipe = target_of(name), DRAFTERS[drafter]
    maker = recipe.make(target, expected)
    request = Request(
        batch_of(BY_NAME[name], rows), Sampling(max_new_tokens=NEW), lookahead=recipe.plan.nodes
    )
    state, evidence = target.prefill(request)
    noise, rule = Noise([0] * len(rows)), Exact()
    draft = Draft.empty(len(rows))
    for _ in range(ROUNDS):
        target.commit(state, draft, evidence, rule.judge(draft, evidence, noise))
        draft = maker.draft(state, recipe.plan, noise)
        evidence = target.score(state, draft)
    target.commit(state, draft, evidence, rule.judge(draft, evidence, noise))
    return state


def fresh(name: str, row: Row, tokens: list[int]) -> tuple[TokenTarget, State]:
    """A prefill of the prompt followed by ``tokens``, all but the last."""
    longer = Row(row.ids + tokens[:-1], row.vision)
    inputs = batch_of(BY_NAME[name], [longer])
    target = target_of(name)
    return target, target.prefill(Request(inputs, Sampling(max_new_tokens=NEW)))[0]


@torch.inference_mode()
@pytest.mark.parametrize("drafter", ["flaky", "bush", "static"])
@pytest.mark.parametrize("name", NAMES)
def test_cache_rows_equal_those_of_a_fresh_prefill(name: str, drafter: str) -> None:
    kind = BY_NAME[name].kinds[-1]
    rows, expected = reference(name, kind)
    state = played(name, rows, expected, drafter)
    if drafter != "static":  # which is right in every row alike
        assert len(set(state.new_lengths)) > 1, "the rows should have become ragged"
    for index, (row, count) in enumerate(zip(rows, state.new_lengths, strict=True)):
        _, again = fresh(name, row, expected[index][:count])
        length = state.host_lengths[index] - 1
        kept = state.cache._buffer[:, :, index, :, :length]
        torch.testing.assert_close(
            kept, again.cache._buffer[:, :, 0, :, :length], atol=2e-5, rtol=1e-4
        )


@torch.inference_mode()
@pytest.mark.parametrize("name", NAMES)
def test_next_logits_equal_those_of_a_fresh_prefill(name: str) -> None:
    rows, expected = reference(name, BY_NAME[name].kinds[-1])
    state = played(name, rows, expected, "bush")
    target = target_of(name)
    logits, hidden = target.forward(state, Draft.empty(len(rows)))
    for index, (row, count) in enumerate(zip(rows, state.new_lengths, strict=True)):
        if count >= NEW:
            continue
        _, again = fresh(name, row, [*expected[index][:count], 0])
        last = again.cache._buffer[:, :, 0, :, again.host_lengths[0] - 1]
        here = state.cache._buffer[:, :, index, :, state.host_lengths[index] - 1]
        torch.testing.assert_close(here, last, atol=2e-5, rtol=1e-4)
        assert int(logits[index, -1].argmax()) == expected[index][count]
        torch.testing.assert_close(target.head(hidden[index]), logits[index])
