"""The law of sampled output with sampled drafts: chi-square against the enumerated target law."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from lm_drafting.draft_model import DraftModel
from mmspec.distributions import Categorical
from mmspec.messages import Draft, Plan
from mmspec.sampling import Sampling, warp
from mmspec.token_target import TokenTarget
from tests.core.exactly import ancestral_law
from tests.core.toy import MarkovDecoder, random_laws, request
from tests.lm_drafting.toy import run

DRAWS, LENGTH, VOCAB = 20_000, 3, 4
TARGET, DRAFTER = random_laws(VOCAB, VOCAB, seed=1), random_laws(VOCAB, VOCAB, seed=2)


class Liar(DraftModel):
    """Records the uniform law whatever it drew from."""

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        draft = super().draft(state, plan, noise)
        assert isinstance(draft.law, Categorical)
        return replace(draft, law=Categorical(torch.full_like(draft.law.probs, 1 / VOCAB)))


def p_value(counts: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> float:
    """Chi-square of counts against a law; bins expected below 5 are merged."""
    total = sum(counts.values())
    large = {key: total * mass for key, mass in law.items() if total * mass >= 5}
    expected = torch.tensor([*large.values(), total - sum(large.values())], dtype=torch.float64)
    seen = [counts[key] for key in large]
    observed = torch.tensor([*seen, total - sum(seen)], dtype=torch.float64)
    if expected[-1] < 1e-6:
        assert observed[-1] == 0
        expected, observed = expected[:-1], observed[:-1]
    statistic = ((observed - expected) ** 2 / expected).sum()
    half = torch.tensor((len(expected) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(half, statistic / 2))


def drawn(
    kind: type[DraftModel], plan: Plan, options: dict[str, float]
) -> Counter[tuple[int, ...]]:
    target = TokenTarget(MarkovDecoder(TARGET))
    drafter = kind(TokenTarget(MarkovDecoder(DRAFTER)), target)
    asked = request([[0]] * DRAWS, max_new_tokens=LENGTH + 1, temperature=1.0, **options)
    rows, trace = run(target, drafter, asked, plan, seeds=range(DRAWS))
    assert trace.acceptance_length > 1.3
    return Counter(tuple(row[:LENGTH]) for row in rows)


def table(options: dict[str, float]) -> torch.Tensor:
    return warp(TARGET.log(), Sampling(temperature=1.0, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"top_k": 3}])
@pytest.mark.parametrize("plan", [Plan(3), Plan(3, stop_below=0.4), Plan(2, 3, 6), Plan(3, 2, 14)])
def test_output_has_the_targets_law(plan: Plan, options: dict[str, float]) -> None:
    counts = drawn(DraftModel, plan, options)
    assert p_value(counts, ancestral_law(table(options), 0, LENGTH)) > 1e-4


@pytest.mark.parametrize("plan", [Plan(3), Plan(2, 3, 6)])
def test_a_drafter_that_records_another_law_is_caught(plan: Plan) -> None:
    counts = drawn(Liar, plan, {})
    assert p_value(counts, ancestral_law(TARGET, 0, LENGTH)) < 1e-8
