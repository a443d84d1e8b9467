"""Every law again, this time through the real loop: grids of uniforms, and long seeded runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mmspec.distributions import invert_cdf
from mmspec.engine import Engine
from mmspec.messages import Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.pacing import Fixed
from mmspec.rules import ChainRejection, Exact, Match
from mmspec.rules.walk import has_child, longest_path
from mmspec.token_target import TokenTarget
from tests.core.exactly import ancestral_law, distance
from tests.core.grid import GridNoise, loop_outputs, shares
from tests.core.statistics import p_value
from tests.core.toy import (
    DynamicTree,
    FixedTree,
    Guess,
    MarkovDecoder,
    SampledChain,
    SampledSiblings,
    Silent,
    laws,
    random_laws,
    request,
)

# Multiples of one tenth: a grid of ten cells a position resolves them without error.
TENTHS = laws((0.6, 0.3, 0.1), (0.1, 0.2, 0.7), (0.5, 0.0, 0.5))
OTHER = laws((0.3, 0.4, 0.3), (0.8, 0.1, 0.1), (0.0, 1.0, 0.0)).clamp(min=1e-9)
PATHS = [[0], [1], [0, 0], [0, 1], [1, 0], [0, 0, 0]]
DETERMINISTIC = {
    "static tree": (FixedTree(OTHER, PATHS), Plan(3, 2, 6)),
    "perfect static tree": (FixedTree(TENTHS, PATHS), Plan(3, 2, 6)),
    "chain": (FixedTree(TENTHS, [[0], [0, 0], [0, 0, 0]]), Plan(3)),
    "dynamic tree": (DynamicTree(OTHER), Plan(3, 2, 5)),
    "dynamic tree, all of the pool": (DynamicTree(OTHER), Plan(2, 2, 50)),
    "random ragged chain": (Guess(3, chain=True), Plan(3)),
    "random ragged tree": (Guess(3), Plan(3, 3, 7)),
}


@pytest.mark.parametrize("case", DETERMINISTIC.values(), ids=DETERMINISTIC)
def test_deterministic_drafts_through_the_loop(case: tuple[Any, Plan]) -> None:
    drafter, plan = case
    noise = GridNoise([10] * 3)
    found = loop_outputs(TENTHS, drafter, Exact(), plan, noise, noise.rows, 3)
    assert distance(shares(found), ancestral_law(TENTHS, 0, 3)) < 1e-6
    plain = loop_outputs(TENTHS, Silent(), Exact(), Plan(0), noise, noise.rows, 3)
    assert found == plain


class Typical(Match):
    """Typical acceptance: a drafted unit stands if the target finds it likely enough. Biased."""

    def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
        own = evidence.law.draw(noise.at("target", evidence.positions))
        probs = evidence.law.probs.gather(
            1, (draft.tree.parents + 1).unsqueeze(-1).expand(-1, -1, evidence.law.probs.shape[-1])
        )
        stands = probs.gather(2, draft.units.unsqueeze(2)).squeeze(2) > 0.25
        path, accepted, end = longest_path(draft.tree, stands)
        own = own.gather(1, end.unsqueeze(1)).squeeze(1)
        return Verdict(path, accepted, own, has_child(draft.tree, end, draft.valid))


def test_typical_acceptance_is_caught_by_the_grid() -> None:
    drafter, plan = DETERMINISTIC["static tree"]
    noise = GridNoise([10] * 3)
    found = loop_outputs(TENTHS, drafter, Typical(), plan, noise, noise.rows, 3)
    assert distance(shares(found), ancestral_law(TENTHS, 0, 3)) > 0.01


# Quarters, with acceptance thresholds 0, 1/2, 1 and residuals in quarters.
P_QUARTERS = laws(
    (0.25, 0.25, 0.25, 0.25), (0.25, 0.5, 0.25, 0), (0.5, 0, 0.5, 0), (0.75, 0.25, 0, 0)
)
Q_QUARTERS = laws((0.5, 0, 0, 0.5), (0.5, 0.25, 0.25, 0), (0, 0.5, 0.5, 0), (0.5, 0.5, 0, 0))
SAMPLED = {
    "chain of 1": (SampledChain(Q_QUARTERS), Plan(1), 3),
    "chain of 2": (SampledChain(Q_QUARTERS), Plan(2), 2),
    "two siblings": (SampledSiblings([Q_QUARTERS], replace=True), Plan(1, 2), 2),
}


def sampled_law(drafter: Any, rule: Any, plan: Plan, length: int) -> dict[tuple[int, ...], float]:
    rounds, nodes = length - 1, plan.nodes
    fresh = {
        "draft": [4] * nodes * rounds,
        "accept": [2] * nodes * rounds,
        "residual": [4] * rounds,
    }
    noise = GridNoise([4], fresh)
    return shares(loop_outputs(P_QUARTERS, drafter, rule, plan, noise, noise.rows, length))


@pytest.mark.parametrize("case", SAMPLED.values(), ids=SAMPLED)
def test_sampled_drafts_through_the_loop(case: tuple[Any, Plan, int]) -> None:
    drafter, plan, length = case
    found = sampled_law(drafter, Exact(), plan, length)
    assert distance(found, ancestral_law(P_QUARTERS, 0, length)) < 1e-6


def test_an_argmax_draft_with_a_soft_law_is_caught_by_the_loop() -> None:
    twin = SampledChain(Q_QUARTERS, greedy=True)
    assert distance(sampled_law(twin, Exact(), Plan(1), 3), ancestral_law(P_QUARTERS, 0, 3)) > 0.01


# --- what no grid can hold: real noise, 20,000 rows, chi-square -----------------------------------

ROWS, LENGTH = 20_000, 3
P, Q, R = random_laws(4, 4, 11), random_laws(4, 4, 12), random_laws(4, 4, 13)


def seeded_p_value(drafter: Any, rule: Any, plan: Plan, rows: int = ROWS) -> float:
    noise = Noise(range(rows), horizon=LENGTH)
    found = loop_outputs(P, drafter, rule, plan, noise, rows, LENGTH)
    return p_value(found, ancestral_law(P, 0, LENGTH))


class KeepsTheLaw(ChainRejection):
    """Draws the correction from ``p`` where the residual belongs."""

    def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
        if not draft.nodes:
            return Match().judge(draft, evidence, noise)
        verdict = super().judge(draft, evidence, noise)
        rows = torch.arange(draft.batch)
        p: Tensor = evidence.law.probs[rows, verdict.accepted]
        own = invert_cdf(p, noise.fresh("residual", 1).squeeze(1))
        return Verdict(verdict.path, verdict.accepted, own, verdict.corrected)


EXACT = {
    "chain": (SampledChain(Q), Plan(3)),
    "tree without replacement": (SampledSiblings([Q]), Plan(2, 2, 6)),
    "tree of two sources": (SampledSiblings([Q, R], replace=True), Plan(2, 2, 6)),
}


@pytest.mark.parametrize("case", EXACT.values(), ids=EXACT)
def test_seeded_runs_have_the_targets_law(case: tuple[Any, Plan]) -> None:
    assert seeded_p_value(case[0], Exact(), case[1]) > 1e-4


BIASED = {
    "argmax with a soft law": (SampledChain(Q, greedy=True), Exact(), Plan(3)),
    "law of another drafter": (SampledChain(Q, recorded=R), Exact(), Plan(3)),
    "no residual": (SampledChain(Q), KeepsTheLaw(), Plan(3)),
    "typical acceptance": (DynamicTree(Q), Typical(), Plan(3, 2, 6)),
}


@pytest.mark.parametrize("case", BIASED.values(), ids=BIASED)
def test_seeded_runs_of_biased_twins_are_caught(case: tuple[Any, Any, Plan]) -> None:
    assert seeded_p_value(*case, rows=3000) < 1e-6


def test_greedy_trees_equal_greedy_plain_decoding() -> None:
    target = TokenTarget(MarkovDecoder(random_laws(9, 9, 5, sharp=3)))
    asked = request([[1], [2, 3], [4]], max_new_tokens=17, lookahead=8)
    plain, _ = Engine(target).generate(asked)
    for drafter in (
        Guess(9),
        DynamicTree(random_laws(9, 9, 6)),
        SampledChain(random_laws(9, 9, 7)),
    ):
        engine = Engine(target, drafter, pacer=Fixed(Plan(4, 2, 8)), strict=True)
        assert engine.generate(asked)[0] == plain
