"""Rejection rules: whole output laws by exact integration; biased twins must be caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mmspec.distributions import Categorical, invert_cdf, residual, take_rows, without
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.rules import ChainRejection, Exact, TreeRejection
from mmspec.sampling import Sampling, warp
from tests.core.exactly import (
    NodeLaw,
    Scheme,
    acceptance,
    ancestral_law,
    distance,
    string_law,
)
from tests.core.toy import P3, Q3, laws, random_laws

EXACT = 1e-6
CAUGHT = 5e-3


def plain(table: Tensor) -> NodeLaw:
    """Every sibling from the same law: with replacement."""
    return lambda token, earlier: table[token]


def removing(table: Tensor) -> NodeLaw:
    """Siblings without replacement."""

    def law(token: int, earlier: Sequence[int]) -> Tensor:
        q = table[token]
        for unit in earlier:
            q = without(q, torch.tensor(unit))
        return q

    return law


def certain(table: Tensor) -> NodeLaw:
    """A source that always proposes its second choice: one-hot."""

    def law(token: int, earlier: Sequence[int]) -> Tensor:
        choice = table[token].argsort(descending=True)[1]
        return torch.zeros_like(table[token]).scatter(0, choice, 1.0)

    return law


def masked(table: Tensor, **options: float) -> Tensor:
    return warp(table.log(), Sampling(temperature=0.8, **options))


F3P = laws(P3, (0.1, 0.2, 0.7), (0.3, 0.3, 0.4))
F3R = laws((0.5, 0.2, 0.3), (0.2, 0.2, 0.6), (0.1, 0.1, 0.8))
F3Q = laws(Q3, (0.3, 0.4, 0.3), (0.5, 0.25, 0.25))
P4, Q4, R4 = random_laws(4, 4, 1), random_laws(4, 4, 2), random_laws(4, 4, 3)
DISJOINT_P = laws((0.5, 0.5, 0, 0), (0, 0, 0.3, 0.7), (1, 0, 0, 0), (0, 0.2, 0.8, 0))
DISJOINT_Q = laws((0, 0, 0.4, 0.6), (0.9, 0.1, 0, 0), (0, 0, 0, 1), (1, 0, 0, 0))
PADDED_P = laws((*P3, 0), (0.1, 0.2, 0.7, 0), (0.3, 0.3, 0.4, 0), (1, 0, 0, 0))
PADDED_Q = laws((*Q3, 0), (0.3, 0.4, 0.3, 0), (0.5, 0.25, 0.25, 0), (1, 0, 0, 0))
PAIRS = {
    "f3": (F3P, F3Q),
    "vocab 4": (P4, Q4),
    "q is p": (P4, P4),
    "disjoint": (DISJOINT_P, DISJOINT_Q),
    "one-hot q": (F3P, laws((0, 1, 0), (1, 0, 0), (0, 0, 1))),
    "one-hot p": (laws((0, 1, 0), (0, 0, 1), (1, 0, 0)), F3Q),
    "top-k p": (masked(P4, top_k=2), Q4),
    "top-p both": (masked(P4, top_p=0.7), masked(Q4, top_p=0.9)),
    "min-p q": (P4, masked(Q4, min_p=0.5)),
    "padded vocabulary": (PADDED_P, PADDED_Q),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    ("rule", "length"),
    [(ChainRejection(), 1), (Exact(), 2), (TreeRejection(), 2)],
    ids=["chain of 1", "chain of 2", "chain of 2 as a tree"],
)
def test_chain_has_the_targets_law(rule: Any, length: int, pair: str) -> None:
    p, q = PAIRS[pair]
    scheme = Scheme(range(-1, length - 1), [plain(q)] * length)
    assert distance(string_law(rule, scheme, p, 0, 3), ancestral_law(p, 0, 3)) < EXACT


def test_long_chain_has_the_targets_law() -> None:
    scheme = Scheme([-1, 0, 1], [plain(F3Q)] * 3)
    assert distance(string_law(Exact(), scheme, F3P, 0, 4), ancestral_law(F3P, 0, 4)) < EXACT


TREES = {
    "two siblings": [-1, -1],
    "three siblings": [-1, -1, -1],
    "comb": [-1, -1, 0],
    "second child grows": [-1, -1, 1],
    "two levels": [-1, -1, 0, 0],
}


@pytest.mark.parametrize("parents", TREES.values(), ids=TREES)
@pytest.mark.parametrize(
    "sources", ["without replacement", "independent", "own laws", "one-hot 2nd"]
)
def test_siblings_have_the_targets_law(parents: list[int], sources: str) -> None:
    check_siblings(parents, sources, F3P, F3Q, F3R)


@pytest.mark.parametrize("sources", ["without replacement", "own laws"])
def test_siblings_in_a_larger_vocabulary(sources: str) -> None:
    check_siblings([-1, -1], sources, P4, Q4, R4)


def check_siblings(parents: list[int], sources: str, p: Tensor, q: Tensor, other: Tensor) -> None:
    ranks = [parents[:node].count(parent) for node, parent in enumerate(parents)]
    kinds = {
        "without replacement": [removing(q)] * 3,
        "independent": [plain(q)] * 3,
        "own laws": [plain(q), plain(other), plain(q)],
        "one-hot 2nd": [plain(q), certain(q), plain(other)],
    }
    scheme = Scheme(parents, [kinds[sources][rank] for rank in ranks])
    found = string_law(Exact(), scheme, p, 0, 3)
    assert distance(found, ancestral_law(p, 0, 3)) < EXACT


@pytest.mark.parametrize("pair", ["disjoint", "q is p", "top-k p", "padded vocabulary"])
def test_two_levels_at_the_edges_of_probability(pair: str) -> None:
    p, q = PAIRS[pair]
    scheme = Scheme([-1, -1, 1], [plain(q)] * 3)
    assert distance(string_law(Exact(), scheme, p, 1, 3), ancestral_law(p, 1, 3)) < EXACT


MASKS = {
    "chain, one of two": ([-1, 0], (True, False)),
    "chain, none": ([-1, 0], (False, False)),
    "chain with a hole": ([-1, 0, 1], (True, False, True)),
    "tree, no second sibling": ([-1, -1, 0], (True, False, True)),
    "tree, no child": ([-1, -1, 0], (True, True, False)),
    "tree, orphan": ([-1, -1, 1], (True, False, True)),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masked_nodes_do_not_bend_the_law(mask: tuple[list[int], tuple[bool, ...]]) -> None:
    parents, valid = mask
    scheme = Scheme(parents, [plain(F3Q)] * len(parents), keep=lambda units: valid)
    assert distance(string_law(Exact(), scheme, F3P, 0, 3), ancestral_law(F3P, 0, 3)) < EXACT


def test_stopping_after_a_weak_unit_and_keeping_it_is_exact() -> None:
    """L8: what follows may be dropped because of an earlier unit, the unit itself stays."""
    scheme = Scheme([-1, 0], [plain(F3Q)] * 2, keep=lambda units: (True, units[0] != 2))
    assert distance(string_law(Exact(), scheme, F3P, 0, 3), ancestral_law(F3P, 0, 3)) < EXACT


# --- oracles of fixture F3 -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "expected"),
    [(removing(F3Q), (0.6, 0.737, 1.0)), (plain(F3Q), (0.6, 0.68, 0.744))],
    ids=["without replacement", "with replacement"],
)
def test_acceptance_of_k_siblings(law: NodeLaw, expected: tuple[float, ...]) -> None:
    for siblings, mass in enumerate(expected, 1):
        scheme = Scheme([-1] * siblings, [law] * siblings)
        assert acceptance(Exact(), scheme, F3P, 0) == pytest.approx(mass, abs=6e-4)


def test_acceptance_of_two_sources_depends_on_their_order() -> None:
    other = F3R[:1].expand(3, -1)
    for sources, mass in (([F3Q, other], 0.8), ([other, F3Q], 0.94)):
        scheme = Scheme([-1, -1], [plain(source) for source in sources])
        assert acceptance(Exact(), scheme, F3P, 0) == pytest.approx(mass, abs=1e-5)


def test_one_hot_proposals_are_accepted_with_the_targets_probability() -> None:
    """L2b on F3: E_q[p(x)] = 0.30, half of what the recorded law allows."""
    masses = []
    for unit, weight in enumerate(Q3):
        hot = torch.zeros(3, dtype=torch.float64).scatter(0, torch.tensor(unit), 1.0)
        scheme = Scheme([-1], [lambda token, earlier, hot=hot: hot])
        masses.append(weight * acceptance(Exact(), scheme, F3P, 0))
    assert sum(masses) == pytest.approx(0.3, abs=1e-6)


# --- biased twins: each must be caught by the checker the real rules pass -------------------------


def caught(rule: Any, scheme: Scheme, p: Tensor = F3P) -> bool:
    return distance(string_law(rule, scheme, p, 0, 3), ancestral_law(p, 0, 3)) > CAUGHT


def first_unit(rule: Any, scheme: Scheme) -> list[float]:
    law = string_law(rule, scheme, F3P, 0, 1)
    return [law.get((unit,), 0.0) for unit in range(3)]


def argmax_of(table: Tensor) -> NodeLaw:
    return lambda token, earlier: torch.zeros(3, dtype=torch.float64).scatter(
        0, table[token].argmax(), 1.0
    )


def test_soft_law_with_an_argmax_draft_is_caught() -> None:
    """L2: the published oracle of the bug is (.4, .6, 0)."""
    twin = Scheme([-1], [argmax_of(F3Q)], recorded=[plain(F3Q)])
    assert first_unit(Exact(), twin) == pytest.approx([0.4, 0.6, 0.0], abs=1e-6)
    assert caught(Exact(), twin)


def test_dropping_a_sampled_unit_by_its_value_is_caught() -> None:
    """L8: the published oracle is (.58, .39, .03); the one-hot rule is immune."""
    twin = Scheme([-1], [plain(F3Q)], keep=lambda units: (units[0] != 2,))
    assert first_unit(Exact(), twin) == pytest.approx([0.58, 0.39, 0.03], abs=1e-6)
    assert caught(Exact(), twin)


def test_forgetting_the_removed_siblings_is_caught() -> None:
    assert caught(Exact(), Scheme([-1, -1], [removing(F3Q)] * 2, recorded=[plain(F3Q)] * 2))


def test_the_law_below_a_verifier_is_caught() -> None:
    """L9: a verified stream has the law of its verifier; the bug gives (.723, .21, .067)."""
    middle = laws((0.45, 0.35, 0.2)).expand(3, -1)
    honest = Scheme([-1], [plain(middle)])
    twin = Scheme([-1], [plain(middle)], recorded=[plain(F3Q)])
    assert not caught(Exact(), honest)
    assert first_unit(Exact(), twin) == pytest.approx([0.723, 0.21, 0.067], abs=1e-3)
    assert caught(Exact(), twin)


def test_a_rounded_law_is_caught() -> None:
    """L4: the recorded law must be the drawn one; rounding it to two bits is seen."""
    rounded = (F3Q * 4).round() / 4
    assert caught(Exact(), Scheme([-1, 0], [plain(F3Q)] * 2, recorded=[plain(rounded)] * 2))


class KeepsTheLaw(ChainRejection):
    """Draws the correction from ``p`` instead of the residual."""

    def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
        verdict = super().judge(draft, evidence, noise)
        p = take_rows(evidence.law.probs, verdict.accepted.unsqueeze(1)).squeeze(1)
        own = invert_cdf(p, noise.fresh("residual", 1).squeeze(1))
        return Verdict(verdict.path, verdict.accepted, own, verdict.corrected)


class AcceptsMore(ChainRejection):
    """A lenient acceptance ratio (DistillSpec's lossy knob at one half)."""

    def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
        class Half:
            def fresh(self, stream: str, count: int) -> Tensor:
                numbers = noise.fresh(stream, count)
                return numbers * 0.5 if stream == "accept" else numbers

        return super().judge(draft, evidence, Half())


class UnwarpedBonus(ChainRejection):
    """Draws the all-accepted bonus from a law that was not sharpened like the rest (L5)."""

    def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
        probs = evidence.law.probs.clone()
        flat = probs[:, -1].sqrt()
        probs[:, -1] = flat / flat.sum(-1, keepdim=True)
        other = Evidence(type(evidence.law)(probs), evidence.positions)
        return super().judge(draft, other, noise)


@pytest.mark.parametrize(
    "rule", [KeepsTheLaw(), AcceptsMore(), UnwarpedBonus()], ids=lambda r: type(r).__name__
)
def test_wrong_rules_are_caught(rule: ChainRejection) -> None:
    scheme = Scheme([-1], [plain(F3Q)])
    assert caught(rule, scheme)
    assert not caught(ChainRejection(), scheme)


def test_lenient_acceptance_has_the_published_law() -> None:
    """F3 with lenience one half: output (.30, .50, .20)."""
    found = first_unit(AcceptsMore(), Scheme([-1], [plain(F3Q)]))
    assert found == pytest.approx([0.3, 0.5, 0.2], abs=1e-6)


# --- contracts -----------------------------------------------------------------------------------


def test_residual_of_f3() -> None:
    assert residual(F3P[0], F3Q[0]).tolist() == pytest.approx([1.0, 0.0, 0.0])


def test_a_law_of_nans_is_refused_and_the_target_still_speaks() -> None:
    nan = torch.full((3,), float("nan"), dtype=torch.float64)
    for parents in ([-1, 0], [-1, -1]):
        scheme = Scheme(parents, [plain(F3Q)] * 2, recorded=[lambda token, earlier: nan] * 2)
        assert distance(string_law(Exact(), scheme, F3P, 0, 2), ancestral_law(F3P, 0, 2)) < EXACT


@pytest.mark.parametrize("rule", [ChainRejection(), TreeRejection()], ids=["chain", "tree"])
def test_rejection_names_what_it_needs(rule: ChainRejection) -> None:
    draft = Draft.chain(torch.zeros(1, 2, dtype=torch.long))
    evidence = Evidence(Categorical(F3P.unsqueeze(0)), torch.arange(3).unsqueeze(0))
    with pytest.raises(TypeError, match="categorical"):
        rule.judge(draft, evidence, None)
