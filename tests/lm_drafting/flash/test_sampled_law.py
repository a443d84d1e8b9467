"""The law of sampled output: chi-square against the enumerated law, and a twin that must fail."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from lm_drafting.flash import ParallelDrafter
from mmspec.distributions import Categorical, invert_cdf, take_rows
from mmspec.engine import Engine
from mmspec.messages import Draft, Evidence, Plan, Verdict
from mmspec.rules import Exact
from mmspec.rules.match import STREAM
from tests.core.statistics import p_value
from tests.lm_drafting.flash.networks import make_repeater
from tests.lm_drafting.toy import ToyTarget, Wobble, padded, request

DRAWS, LENGTH, VOCAB = 1000, 4, 3
PROMPT = [0, 2, 1]


class RawBonus(Exact):
    """FLASH's released slip: a bonus is drawn from the raw logits, whatever the temperature."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
        verdict = super().judge(draft, evidence, noise)
        if not draft.nodes:
            return verdict
        assert isinstance(evidence.law, Categorical)
        nodes = torch.cat([torch.zeros_like(verdict.path[:, :1]), verdict.path + 1], 1)
        end = nodes.gather(1, verdict.accepted.unsqueeze(1))
        raw = take_rows(evidence.law.probs, end) ** self.temperature
        uniforms = noise.at(STREAM, evidence.positions).gather(1, end)
        bonus = invert_cdf(raw, uniforms).squeeze(1)
        return replace(verdict, own=torch.where(verdict.corrected, verdict.own, bonus))


@pytest.fixture(scope="module")
def target() -> ToyTarget:
    return ToyTarget(vocab=VOCAB, sharp=7.0)


def law_of(target: ToyTarget, temperature: float) -> dict[tuple[int, ...], float]:
    """Probability of every string, from one pass of the target over all of them."""
    strings = list(product(range(VOCAB), repeat=LENGTH))
    inputs = padded([[*PROMPT, *string] for string in strings])
    filled = target.decoder.prefill(inputs, 1, True)
    laws = (target.head(filled.hidden) / temperature).double().softmax(-1)
    chances = laws[:, len(PROMPT) - 1 : -1].gather(2, torch.tensor(strings).unsqueeze(2))
    return dict(zip(strings, chances.squeeze(2).prod(1).tolist(), strict=True))


def drawn(target: ToyTarget, plan: Plan, temperature: float, rule: Any) -> list[list[int]]:
    drafter = ParallelDrafter(make_repeater(k=2, vocab=VOCAB), target)
    asked = request([PROMPT] * DRAWS, max_new_tokens=LENGTH + 1, temperature=temperature)
    engine = Engine(target, drafter, rule, Wobble(plan), lookahead=plan.nodes, strict=True)
    rows, trace = engine.generate(asked, seeds=range(DRAWS))
    assert trace.acceptance_length > 1.2
    return [row[:LENGTH] for row in rows]


PLANS = [Plan(1), Plan(2, 2, 4)]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_output_has_the_targets_law(target: ToyTarget, plan: Plan, temperature: float) -> None:
    found = drawn(target, plan, temperature, Exact())
    assert p_value(found, law_of(target, temperature)) > 1e-4


@pytest.mark.parametrize("plan", PLANS)
def test_a_bonus_without_temperature_is_caught(target: ToyTarget, plan: Plan) -> None:
    found = drawn(target, plan, 0.5, RawBonus(0.5))
    assert p_value(found, law_of(target, 0.5)) < 1e-8
