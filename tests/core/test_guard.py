"""A drafter that fails in any way costs speed and one warning, never the output."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from mmspec.distributions import Categorical
from mmspec.engine import Engine
from mmspec.messages import Draft, Plan
from mmspec.pacing import Fixed
from mmspec.token_target import TokenTarget
from mmspec.trees import Tree
from tests.core.toy import AttentionDecoder, SampledChain, Silent, random_laws, request

VOCAB = 5
PROMPTS = [[1, 2, 3], [4], [0, 1]]
TABLE = random_laws(VOCAB, VOCAB, 3)


class Good(SampledChain):
    def __init__(self) -> None:
        super().__init__(TABLE)
        self.rounds = 0

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        self.rounds += 1
        return (
            self.spoil(super().draft(state, plan, noise))
            if self.rounds == 3
            else (super().draft(state, plan, noise))
        )

    def spoil(self, draft: Draft) -> Draft:
        return draft


class Raises(Good):
    def spoil(self, draft: Draft) -> Draft:
        raise KeyError("lost")


class NaN(Good):
    """Non-finite numbers, reported with the draft so that no extra synchronisation is needed."""

    def spoil(self, draft: Draft) -> Draft:
        law = Categorical(torch.full((3, 3, VOCAB), float("nan")))
        return Draft(draft.units, draft.tree, law, healthy=torch.tensor([True, False, True]))


class OtherVocabulary(Good):
    def spoil(self, draft: Draft) -> Draft:
        return Draft(draft.units, draft.tree, Categorical(torch.full((3, 3, VOCAB + 2), 0.1)))


class WrongBatch(Good):
    def spoil(self, draft: Draft) -> Draft:
        return Draft.chain(draft.units[:1])


class TreeOfOneRow(Good):
    def spoil(self, draft: Draft) -> Draft:
        return Draft(draft.units, Tree.chain(1, 3))


class TooLong(Good):
    def spoil(self, draft: Draft) -> Draft:
        return Draft.chain(draft.units.repeat(1, 30))


class FailsToObserve(Good):
    def observe(self, *args: Any) -> None:
        if self.rounds == 3:
            raise RuntimeError("no")


class FailsToReset(Good):
    def reset(self) -> None:
        raise RuntimeError("no")


FAILURES = [
    (Raises, "raised KeyError: 'lost'"),
    (NaN, "not finite"),
    (OtherVocabulary, "must share one vocabulary"),
    (WrongBatch, "draft for 3 rows expected"),
    (TreeOfOneRow, "draft for 3 rows expected"),
    (TooLong, "90 nodes drafted, lookahead allows 3"),
    (FailsToObserve, "raised RuntimeError: no"),
    (FailsToReset, "raised RuntimeError: no"),
]


def engine_of(drafter: Any, strict: bool = False) -> Engine:
    target = TokenTarget(AttentionDecoder(VOCAB, sharp=3.0))
    return Engine(target, drafter, pacer=Fixed(Plan(3)), lookahead=3, strict=strict)


@pytest.mark.parametrize(("kind", "message"), FAILURES)
def test_fallback_with_one_warning(
    kind: type, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = request(PROMPTS, max_new_tokens=21)
    plain, _ = engine_of(Silent()).plain().generate(asked)
    with caplog.at_level(logging.WARNING):
        outputs, trace = engine_of(kind()).generate(asked)
    assert outputs == plain
    assert len(trace.notes) == len(caplog.records) == 1
    assert message in trace.notes[0]
    assert "going on with plain decoding (output unaffected)" in trace.notes[0]
    assert trace.rounds[-1].source == "none"


@pytest.mark.parametrize(("kind", "message"), FAILURES)
def test_strict_raises(kind: type, message: str) -> None:
    with pytest.raises(RuntimeError, match=r"drafter 'toy' "):
        engine_of(kind(), strict=True).generate(request(PROMPTS, max_new_tokens=21))


def test_units_outside_the_vocabulary_are_refused() -> None:
    class Outside(Silent):
        def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
            return Draft.chain(torch.tensor([[VOCAB + 70, -3, 1]]).expand(state.batch, -1))

    for temperature in (0.0, 1.0):
        asked = request(PROMPTS, max_new_tokens=12, temperature=temperature)
        engine = engine_of(Outside(), strict=True)
        assert (
            engine.generate(asked, seeds=[1, 2, 3])[0]
            == (engine.plain().generate(asked, seeds=[1, 2, 3])[0])
        )


def test_a_drafter_may_propose_nothing_under_any_law() -> None:
    class Nothing(Silent):
        def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
            units = torch.empty(state.batch, 0, dtype=torch.long)
            return Draft.chain(units, Categorical(torch.empty(state.batch, 0, VOCAB)))

    asked = request(PROMPTS, max_new_tokens=12, temperature=1.0)
    engine = engine_of(Nothing(), strict=True)
    plain, _ = engine.plain().generate(asked, seeds=[1, 2, 3])
    assert engine.generate(asked, seeds=[1, 2, 3])[0] == plain


def test_a_drafter_that_keeps_failing_is_left_alone() -> None:
    drafter = Raises()
    engine = engine_of(drafter)
    asked = request(PROMPTS, max_new_tokens=8)
    for _ in range(3):
        drafter.rounds = 2
        _, trace = engine.generate(asked)
        assert "raised KeyError" in trace.notes[0]
    asked_before = drafter.rounds
    _, trace = engine.generate(asked)
    assert drafter.rounds == asked_before
    assert trace.notes == ["drafter 'toy' failed in earlier requests and is left alone"]
