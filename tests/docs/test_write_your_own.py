"""The worked examples of docs/write_your_own.md keep what they promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mmspec import Engine, Sampling
from mmspec.messages import Plan
from mmspec.pacing import Fixed
from mmspec.roles import Decoder, Drafter, Rule
from mmspec.rules import ChainRejection
from mmspec.token_target import Request, TokenTarget
from tests.core.exactly import (
    NodeLaw,
    Rounds,
    Scheme,
    ancestral_law,
    distance,
    string_law,
)
from tests.core.statistics import p_value
from tests.core.toy import (
    AttentionDecoder,
    Guess,
    MarkovDecoder,
    SampledChain,
    laws,
    random_laws,
    request,
)
from tests.docs.pages import ROOT, run_page

PAGE = run_page(ROOT / "docs" / "write_your_own.md")
PhraseMemory, BlockVerification = PAGE["PhraseMemory"], PAGE["BlockVerification"]
EXACT, CAUGHT = 1e-6, 5e-3
P, Q = random_laws(3, 3, seed=1), random_laws(3, 3, seed=2)
PAIRS = {
    "random": (P, Q),
    "draft is target": (P, P),
    "disjoint": (laws((1, 0, 0), (0, 1, 0), (0.5, 0.5, 0)), laws(*[(0, 0, 1)] * 3)),
    "far apart": (random_laws(3, 3, seed=3, sharp=3.0), random_laws(3, 3, seed=4, sharp=3.0)),
}


def plain(table: Tensor) -> NodeLaw:
    return lambda token, earlier: table[token]


def chain(table: Tensor, length: int, **options: Any) -> Scheme:
    return Scheme(range(-1, length - 1), [plain(table)] * length, **options)


def mean_emitted(rule: Rule, p: Tensor, q: Tensor, length: int) -> float:
    law = Rounds(rule, chain(q, length), p, [0]).law()[0]
    return sum(mass * len(units) for units, mass in law.items())


def test_they_play_their_roles() -> None:
    assert isinstance(PhraseMemory(), Drafter)
    assert isinstance(BlockVerification(), Rule)
    verbs = {name for name, value in vars(Decoder).items() if callable(value)} & {"prefill", "step"}
    assert verbs == {"prefill", "step"} <= set(dir(PAGE["SpeechDecoder"]))


# --- the drafter ----------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_phrase_memory_changes_nothing(temperature: float) -> None:
    engine = Engine(
        TokenTarget(AttentionDecoder()),
        PhraseMemory(order=1),
        pacer=Fixed(Plan(length=3)),
        lookahead=3,
        strict=True,
    )
    asked = request([[1, 2, 3], [4, 5]], max_new_tokens=30, temperature=temperature)
    texts, trace = engine.generate(asked, seeds=[1, 2])
    assert texts == engine.plain().generate(asked, seeds=[1, 2])[0]
    assert any(record.accepted for record in trace.rounds)


def test_phrase_memory_remembers_from_one_request_to_the_next() -> None:
    engine = Engine(
        TokenTarget(AttentionDecoder()), PhraseMemory(), pacer=Fixed(Plan(length=5)), lookahead=5
    )
    asked = request([[1, 2, 3]], max_new_tokens=24)
    first, again = (engine.generate(asked)[1].acceptance_length for _ in range(2))
    assert again > first
    assert again == pytest.approx(24 / 5, abs=1)


# --- the rule -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("length", [1, 2])
def test_block_verification_has_the_targets_law(pair: str, length: int) -> None:
    p, q = PAIRS[pair]
    found = string_law(BlockVerification(), chain(q, length), p, 0, 3)
    assert distance(found, ancestral_law(p, 0, 3)) < EXACT


def test_block_verification_of_ragged_chains_has_the_targets_law() -> None:
    ragged = chain(Q, 2, keep=lambda units: (True, units[0] != 2))
    found = string_law(BlockVerification(), ragged, P, 0, 3)
    assert distance(found, ancestral_law(P, 0, 3)) < EXACT


@pytest.mark.parametrize("pair", PAIRS)
def test_block_verification_accepts_no_less_than_the_chain_rule(pair: str) -> None:
    p, q = PAIRS[pair]
    block, token = (mean_emitted(rule, p, q, 2) for rule in (BlockVerification(), ChainRejection()))
    assert block >= token - EXACT


def test_block_verification_accepts_more_where_chances_differ() -> None:
    """Two tokens, ``p = (1/3, 2/3)``, ``q = (2/3, 1/3)``: 11/9 are accepted instead of 10/9."""
    p, q = laws(*[(1 / 3, 2 / 3)] * 2), laws(*[(2 / 3, 1 / 3)] * 2)
    assert mean_emitted(ChainRejection(), p, q, 2) == pytest.approx(1 + 10 / 9, abs=1e-5)
    assert mean_emitted(BlockVerification(), p, q, 2) == pytest.approx(1 + 11 / 9, abs=1e-5)


def test_a_twin_that_takes_the_weight_for_the_chance_is_caught() -> None:
    class Forgets(BlockVerification):
        """Lets every prefix stay with chance ``w``, as only the longest may."""

        @staticmethod
        def chances(w: Tensor, r: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
            return w, torch.ones_like(w)

    found = string_law(Forgets(), chain(Q, 2), P, 0, 3)
    assert distance(found, ancestral_law(P, 0, 3)) > CAUGHT


def test_block_verification_in_the_loop() -> None:
    """A thousand texts of three tokens, a seed each, against the law of the chain."""
    rows = 1000
    engine = Engine(
        TokenTarget(MarkovDecoder(P)),
        SampledChain(Q),
        BlockVerification(),
        Fixed(Plan(length=2)),
        lookahead=2,
        strict=True,
    )
    asked = request([[0]] * rows, max_new_tokens=3, temperature=1.0)
    texts, _ = engine.generate(asked, seeds=range(rows))
    assert p_value(texts, ancestral_law(P, 0, 3)) > 1e-3


# --- the target -----------------------------------------------------------------------------------


def recomputed(decoder: Any, inputs: dict[str, Tensor], count: int) -> list[list[int]]:
    """Greedy texts of the model itself, every token with a pass over everything, no cache."""
    ids = inputs["input_ids"]
    for _ in range(count):
        logits = decoder.model(
            input_features=inputs["input_features"], decoder_input_ids=ids, use_cache=False
        ).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
    return ids[:, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("wild", [True, False], ids=["wild trees", "wild chains"])
@torch.inference_mode()
def test_whisper_is_itself_under_wild_drafts(wild: bool) -> None:
    target, inputs = PAGE["target"], PAGE["inputs"]
    drafter = Guess(target.decoder.vocab_size, seed=1, chain=not wild)
    engine = Engine(target, drafter, pacer=Fixed(Plan(length=6)), lookahead=6, strict=True)
    asked = Request(inputs, Sampling(max_new_tokens=20))
    assert engine.generate(asked)[0] == recomputed(target.decoder, inputs, 20)


@torch.inference_mode()
def test_whisper_keeps_its_rows_apart_when_drafts_are_accepted() -> None:
    """The first time through is learnt by heart; the second accepts drafts of different lengths."""
    target, inputs = PAGE["target"], PAGE["inputs"]
    engine = Engine(
        target, PhraseMemory(order=2), pacer=Fixed(Plan(length=4)), lookahead=4, strict=True
    )
    asked = Request(inputs, Sampling(max_new_tokens=20))
    expected = recomputed(target.decoder, inputs, 20)
    assert engine.generate(asked)[0] == expected
    texts, trace = engine.generate(asked)
    assert texts == expected
    assert trace.acceptance_length > 1.5


def test_whisper_under_a_wrong_mask_is_caught() -> None:
    target, inputs = PAGE["target"], PAGE["inputs"]

    class SeesAll(PAGE["SpeechDecoder"]):  # type: ignore[misc]
        def step(self, tokens: Tensor, positions: Tensor, mask: Any, state: Any) -> Any:
            return super().step(tokens, positions, None, state)

    drafter = Guess(target.decoder.vocab_size, seed=1)
    engine = Engine(
        TokenTarget(SeesAll(target.decoder.model)), drafter, pacer=Fixed(Plan(6)), lookahead=6
    )
    asked = Request(inputs, Sampling(max_new_tokens=20))
    with torch.inference_mode():
        assert engine.generate(asked)[0] != recomputed(target.decoder, inputs, 20)


def test_whisper_refuses_drafters_on_hidden_states() -> None:
    target, inputs = PAGE["target"], PAGE["inputs"]
    with pytest.raises(ValueError, match="keeps no hidden states"):
        target.prefill(Request(inputs, features=True))
