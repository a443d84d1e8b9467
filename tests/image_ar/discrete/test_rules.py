"""Relaxed rules: exact where nothing is relaxed, and of the very law that is reported elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from image_ar.discrete.cool import AnnealedRelaxation
from image_ar.discrete.gsd import GroupedSpeculation
from image_ar.discrete.lantern import Lantern, LanternPlus
from image_ar.discrete.laws import Step, acceptance_rate, one_step_bias, output_law
from image_ar.discrete.neighbours import Neighbours
from image_ar.discrete.rules import RelaxedChain, RelaxedTree
from mmspec.distributions import (
    Categorical,
    OneHot,
    invert_cdf,
    residual,
    total_variation,
    without,
)
from mmspec.goodness import chi_square
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules import ChainRejection, Exact, Match, TreeRejection
from mmspec.trees import Tree
from tests.core.exactly import Rounds, Scheme, acceptance
from tests.image_ar.discrete.oracle import (
    POSITIONS,
    Q_A,
    Q_B,
    P,
    Tape,
    chain_draft,
    emitted_law,
    first_unit,
    neighbours,
    random_law,
    ring,
    same,
)

N = neighbours()
RING = ring(16, 5)
NEUTRAL: dict[str, Any] = {
    "delta 0": Lantern(RING, 0.0, 4),
    "k 0": Lantern(RING, 0.4, 0),
    "lambda 1": LanternPlus(RING, 1.0, 4),
    "group 1": GroupedSpeculation(1),
    "block 1": GroupedSpeculation(1, mode="partition"),
    "slice 1": GroupedSpeculation(1, mode="official"),
    "weight 1": AnnealedRelaxation(1.0),
}
RELAXED: dict[str, Any] = {
    "lantern": Lantern(RING, 0.4, 4),
    "lantern++": LanternPlus(RING, 5.0, 4),
    "window": GroupedSpeculation(5),
    "partition": GroupedSpeculation(4, mode="partition"),
    "official": GroupedSpeculation(4, mode="official"),
    "cool": AnnealedRelaxation(1.6),
}
BATCH, NODES, VOCAB = 64, 4, 16
LAW_P = random_law(BATCH, NODES + 1, VOCAB, seed=1)
LAW_Q = random_law(BATCH, NODES, VOCAB, seed=2)
LAW_P[:8, :, 9:], LAW_Q[:8, :, 5:7] = 0.0, 0.0  # filtered laws
LAW_P, LAW_Q = LAW_P / LAW_P.sum(-1, keepdim=True), LAW_Q / LAW_Q.sum(-1, keepdim=True)
PARENTS = torch.tensor([[-1, -1, 0, 0]])


def noise(rows: int = BATCH) -> Noise:
    return Noise(range(rows))


def tree_draft(parents: Tensor, depth: int, p: Tensor, q: Tensor) -> tuple[Draft, Evidence]:
    """Siblings drawn without replacement from the rows of ``q``."""
    generator = torch.Generator().manual_seed(3)
    parents = parents.expand(len(q), -1)
    laws, units = q.clone(), torch.zeros(q.shape[:2], dtype=torch.long)
    for node in range(q.shape[1]):
        for earlier in range(node):
            if bool(parents[0, earlier] == parents[0, node]):
                laws[:, node] = laws[:, earlier]
                laws[:, node] = without(laws[:, node], units[:, earlier])
        numbers = torch.rand(len(q), generator=generator, dtype=torch.float64)
        units[:, node] = invert_cdf(laws[:, node], numbers)
    draft = Draft(units, Tree(parents, depth), Categorical(laws))
    return draft, Evidence(Categorical(p), draft.tree.depths)


# --- reductions to the exact rules ----------------------------------------------------------------


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_chain_that_relaxes_nothing_is_the_exact_rule(name: str) -> None:
    draft, evidence = chain_draft(LAW_P, LAW_Q, seed=4)
    for residual_name in NEUTRAL[name].residuals[:2]:
        rule = RelaxedChain(NEUTRAL[name], residual_name)
        found = rule.judge(draft, evidence, noise())
        assert same(found, ChainRejection().judge(draft, evidence, noise()))
        assert found.bias is not None
        assert float(found.bias.max()) < 1e-6
        assert rule.certificate.lossless


@pytest.mark.parametrize("name", RELAXED)
def test_slack_zero_is_the_exact_rule(name: str) -> None:
    chain, evidence = chain_draft(LAW_P, LAW_Q, seed=4, slack=0.0)
    found = RelaxedChain(RELAXED[name]).judge(chain, evidence, noise())
    assert same(found, ChainRejection().judge(chain, evidence, noise()))
    full = RelaxedChain(RELAXED[name]).judge(replace(chain, slack=1.0), evidence, noise())
    assert not same(found, full)
    draft, evidence = tree_draft(PARENTS, 2, LAW_P, LAW_Q)
    found = RelaxedTree(RELAXED[name]).judge(replace(draft, slack=0.0), evidence, noise())
    assert same(found, TreeRejection().judge(draft, evidence, noise()))


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_tree_that_relaxes_nothing_is_the_exact_rule(name: str) -> None:
    draft, evidence = tree_draft(PARENTS, 2, LAW_P, LAW_Q)
    found = RelaxedTree(NEUTRAL[name]).judge(draft, evidence, noise())
    assert same(found, TreeRejection().judge(draft, evidence, noise()))
    assert found.bias is not None
    assert float(found.bias.max()) < 1e-6


@pytest.mark.parametrize("rule", [RelaxedChain, RelaxedTree])
@pytest.mark.parametrize("policy", [NEUTRAL["delta 0"], RELAXED["window"], RELAXED["lantern++"]])
def test_deterministic_drafts_are_judged_as_one_hot_laws(rule: Any, policy: Any) -> None:
    draft, evidence = chain_draft(LAW_P, LAW_Q, seed=4)
    hot = torch.nn.functional.one_hot(draft.units, VOCAB).float()
    found = rule(policy).judge(replace(draft, law=OneHot()), evidence, noise())
    assert same(found, rule(policy).judge(replace(draft, law=Categorical(hot)), evidence, noise()))


def test_an_empty_draft_is_matched() -> None:
    draft = Draft.empty(BATCH)
    evidence = Evidence(Categorical(LAW_P[:, :1]), torch.full((BATCH, 1), 7))
    for rule in (RelaxedChain(RELAXED["cool"]), RelaxedTree(RELAXED["cool"])):
        found = rule.judge(draft, evidence, noise())
        assert same(found, Match().judge(draft, evidence, noise()))
        assert found.bias is not None
        assert found.bias.shape == (BATCH, 0)


def test_acceptance_of_siblings_without_replacement() -> None:
    """The exact rates of one, two and three children."""

    def removing(token: int, earlier: Sequence[int]) -> Tensor:
        q = Q_A.double()
        for unit in earlier:
            q = without(q, torch.tensor(unit))
        return q

    table = P.double().expand(6, -1)
    for count, rate in ((1, 0.67), (2, 0.73456)):
        rule = RelaxedTree(Lantern(N, 0.05, 2), track_bias=False)
        scheme = Scheme([-1] * count, [removing] * count)
        assert acceptance(rule, scheme, table, 0) == pytest.approx(rate, abs=1e-5)
    assert three_children(P, Q_A) == pytest.approx(0.810102, abs=1e-6)


def three_children(p: Tensor, q: Tensor, count: int = 3) -> float:
    """Exact acceptance by recursion over refused children."""
    if not count:
        return 0.0
    accept = (p / q).clamp(max=1.0).nan_to_num(0.0)
    rate = float((q * accept).sum())
    for unit, mass in enumerate((q * (1 - accept)).tolist()):
        if mass > 1e-9:
            rest = without(q, torch.tensor(unit))
            rate += mass * three_children(residual(p, q), rest, count - 1)
    return rate


# --- the law of the rule is the law that is reported ----------------------------------------------

CASES: dict[str, tuple[Any, str, Tensor]] = {
    "lantern A": (Lantern(N, 0.2, 2), "optimal", Q_A),
    "lantern B moved": (Lantern(N, 0.25, 2), "mass_moved", Q_B),
    "lantern B static": (Lantern(N, 0.25, 2), "official_static", Q_B),
    "lantern B dynamic": (Lantern(N, 0.25, 2), "official_dynamic", Q_B),
    "lantern++ B": (LanternPlus(N, 2.9, 2), "plain", Q_B),
    "cool": (AnnealedRelaxation(1.5), "optimal", Q_A),
    "window": (GroupedSpeculation(3), "optimal", Q_A),
    "window near": (GroupedSpeculation(3, distance_tol=5.0, codebook=POSITIONS), "plain", Q_A),
    "partition": (GroupedSpeculation(2, mode="partition"), "cluster", Q_A),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rule", [RelaxedChain, RelaxedTree])
def test_one_step_of_a_rule_has_the_law_of_the_mathematics(rule: Any, case: str) -> None:
    policy, residual_name, q = CASES[case]
    found = emitted_law(rule(policy, residual_name, track_bias=False), P, q)
    assert torch.allclose(found, output_law(Step(policy, P, q), residual_name), atol=1e-5)


class ForgetsTheResidual(RelaxedChain):
    """Draws the correction from ``p``."""

    def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
        verdict = super().judge(draft, evidence, noise)
        own = evidence.law.draw(noise.fresh("residual", evidence.positions.shape[1]))
        return replace(verdict, own=own.gather(1, verdict.accepted.unsqueeze(1)).squeeze(1))


def sampled_fit(rule: Any, rows: int = 40_000) -> float:
    """p-value of the first emitted unit against the law of the mathematics."""
    policy, residual_name = rule.relaxation, rule.residual
    draft, evidence = chain_draft(P.expand(rows, 3, 6), Q_A.expand(rows, 2, 6), seed=9)
    tape = Tape(torch.Generator().manual_seed(5), rows)
    verdict = rule.judge(draft, evidence, tape)
    first = torch.where(verdict.accepted > 0, draft.units[:, 0], verdict.own)
    law = output_law(Step(policy, P, Q_A), residual_name)
    counts = torch.bincount(first, minlength=6)
    return chi_square("first unit", counts, law.double() / law.double().sum() * rows).p_value


@pytest.mark.parametrize(
    "policy",
    [Lantern(N, 0.2, 2), AnnealedRelaxation(1.1), GroupedSpeculation(3)],
    ids=lambda policy: policy.name,
)
def test_samples_fit_and_a_biased_twin_is_caught(policy: Any) -> None:
    assert sampled_fit(RelaxedChain(policy)) > 1e-4
    assert sampled_fit(ForgetsTheResidual(policy)) < 1e-4


def test_later_nodes_use_their_own_depth() -> None:
    policy = AnnealedRelaxation(1.5, nu=0.2)
    rows = 20_000
    draft, evidence = chain_draft(P.expand(rows, 3, 6), Q_A.expand(rows, 2, 6), seed=9)
    tape = Tape(torch.Generator().manual_seed(5), rows)
    verdict = RelaxedChain(policy).judge(draft, evidence, tape)
    for depth in range(2):
        rate = float(acceptance_rate(Step(policy, P, Q_A, depth)))
        tried = verdict.accepted >= depth
        found = float((verdict.accepted[tried] > depth).float().mean())
        assert found == pytest.approx(rate, abs=0.02)


# --- the published dynamic tree -------------------------------------------------------------------

PAIR = [-1, -1]


def certain(unit: int) -> Any:
    return lambda token, earlier: torch.eye(6, dtype=torch.float64)[unit]


@pytest.mark.parametrize(
    ("policy", "residual_name", "rate", "law"),
    [
        (Lantern(N, 0.0, 2), "optimal", 0.36, P.tolist()),
        (Lantern(N, 0.2, 2), "official_dynamic", 0.36, [0, 0.22, 0, 0.14, 0.40, 0.24]),
        (LanternPlus(N, 3.001, 2), "official_dynamic", 0.66, [0, 0.66, 0, 0, 0.2125, 0.1275]),
    ],
    ids=["exact", "lantern", "lantern++"],
)
def test_dynamic_tree_of_two_candidates(
    policy: Any, residual_name: str, rate: float, law: list[float]
) -> None:
    """Lambda is 3.001: at 3 the pooled .30 + .14 and the budget 2 x .22 are a float tie."""
    scheme = Scheme(PAIR, [certain(1), certain(3)])
    rule = RelaxedTree(policy, residual_name, track_bias=False)
    table = P.double().expand(6, -1)
    assert acceptance(rule, scheme, table, 0) == pytest.approx(rate, abs=1e-5)
    found = first_unit(Rounds(rule, scheme, table, [0]).law()[0], 6)
    assert found.tolist() == pytest.approx(law, abs=1e-5)
    tv = {0.0: 0.0, 0.2: 0.48}.get(getattr(policy, "delta", -1.0), 0.62)
    assert float(total_variation(found, P)) == pytest.approx(tv, abs=1e-5)


# --- bias -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RELAXED)
def test_chain_reports_the_bias_of_judged_positions_only(name: str) -> None:
    draft, evidence = chain_draft(LAW_P, LAW_Q, seed=4)
    verdict = RelaxedChain(RELAXED[name]).judge(draft, evidence, noise())
    steps = torch.arange(NODES).expand(BATCH, -1)
    full = one_step_bias(Step(RELAXED[name], LAW_P[:, :-1], LAW_Q, steps))
    judged = steps <= verdict.accepted.unsqueeze(1)
    assert verdict.bias is not None
    assert torch.allclose(verdict.bias, torch.where(judged, full, 0.0), atol=1e-6)
    tree = RelaxedTree(RELAXED[name]).judge(draft, evidence, noise())
    assert tree.bias is not None
    assert same(tree, verdict)
    assert torch.allclose(tree.bias, verdict.bias, atol=1e-6)
    assert (
        RelaxedChain(RELAXED[name], track_bias=False).judge(draft, evidence, noise()).bias is None
    )


def test_reported_bias_of_siblings_bounds_the_nodes_bias_in_expectation() -> None:
    policy, rows = Lantern(N, 0.2, 2), 4000
    draft, evidence = tree_draft(
        torch.tensor([PAIR]), 1, P.expand(rows, 3, 6), Q_A.expand(rows, 2, 6)
    )
    tape = Tape(torch.Generator().manual_seed(5), rows)
    verdict = RelaxedTree(policy).judge(draft, evidence, tape)
    assert verdict.bias is not None
    drafted = draft.units.gather(1, verdict.path.clamp(min=0))[:, 0]
    first = torch.where(verdict.accepted > 0, drafted, verdict.own)
    found = torch.bincount(first, minlength=6) / rows
    assert float(verdict.bias.mean()) > float(total_variation(found, P)) - 0.02
    expected = float(one_step_bias(Step(policy, P, Q_A)))
    accept = policy.acceptance(P, Q_A, 0, 1.0)
    left = residual(P, Q_A)
    for unit, mass in enumerate((Q_A * (1 - accept)).tolist()):
        expected += mass * float(
            one_step_bias(Step(policy, left, without(Q_A, torch.tensor(unit))))
        )
    assert float(verdict.bias.mean()) == pytest.approx(expected, abs=0.02)


# --- padding, greedy targets, faults --------------------------------------------------------------


@pytest.mark.parametrize("rule", [RelaxedChain, RelaxedTree])
def test_padding_is_neither_kept_nor_counted(rule: Any) -> None:
    draft, evidence = chain_draft(LAW_P, LAW_Q, seed=4)
    lengths = torch.arange(BATCH) % (NODES + 1)
    valid = torch.arange(NODES) < lengths.unsqueeze(1)
    found = rule(RELAXED["lantern"]).judge(replace(draft, valid=valid), evidence, noise())
    whole = rule(RELAXED["lantern"]).judge(draft, evidence, noise())
    assert torch.equal(found.accepted, torch.minimum(whole.accepted, lengths))
    assert torch.equal(found.corrected, found.accepted < lengths)
    assert bool((found.bias[~valid] == 0).all())
    inside = whole.accepted < lengths
    assert torch.equal(found.own[inside], whole.own[inside])


def test_greedy_target_keeps_units_that_pooling_makes_likeliest() -> None:
    """Code 1 overtakes the argmax 0; 3 may borrow nothing, and what 5 borrows is too little."""
    scores = torch.tensor([0.30, 0.22, 0.18, 0.14, 0.10, 0.06]).log().expand(4, 2, 6)
    law = OneHot(scores.argmax(-1), scores)
    draft = Draft.chain(torch.tensor([[0], [1], [3], [5]]))
    evidence = Evidence(law, draft.tree.depths)
    policy = Lantern(Neighbours(N.table[:, [1, 0, 2, 3, 4]], "", False), 0.2, 1)
    found = RelaxedChain(policy).judge(draft, evidence, noise(4))
    assert found.accepted.tolist() == [1, 1, 0, 0]
    assert found.own.tolist() == [0, 0, 0, 0]
    assert found.corrected.tolist() == [False, False, True, True]
    assert found.bias is not None
    assert found.bias.tolist() == [[0.0], [1.0], [0.0], [0.0]]
    for rule in (
        RelaxedChain(policy).judge(replace(draft, slack=0.0), evidence, noise(4)),
        RelaxedTree(GroupedSpeculation(3)).judge(draft, evidence, noise(4)),
        RelaxedChain(policy).judge(draft, Evidence(OneHot(law.units), draft.tree.depths), noise(4)),
    ):
        assert same(rule, Exact().judge(draft, evidence, noise(4)))


@pytest.mark.parametrize("rule", [RelaxedChain, RelaxedTree])
@pytest.mark.parametrize("name", RELAXED)
def test_laws_of_nan_refuse(rule: Any, name: str) -> None:
    draft, evidence = chain_draft(LAW_P, LAW_Q, seed=4)
    nan = torch.full_like(LAW_Q, float("nan"))
    broken = replace(draft, law=Categorical(nan))
    found = rule(RELAXED[name]).judge(broken, evidence, noise())
    assert found.accepted.tolist() == [0] * BATCH
    assert torch.equal(found.own, invert_cdf(LAW_P[:, 0], noise().fresh("residual", 1)[:, 0]))
    assert float(found.bias.abs().max()) == 0.0
    wrong = Evidence(Categorical(torch.full_like(LAW_P, float("nan"))), evidence.positions)
    assert int(rule(RELAXED[name]).judge(draft, wrong, noise()).accepted.max()) == 0


def test_forced_units_are_kept_without_bias() -> None:
    p = torch.eye(16)[3].expand(2, 2, 16)
    for name in RELAXED:
        draft, evidence = chain_draft(p, p[:, :1], seed=0)
        verdict = RelaxedChain(RELAXED[name]).judge(draft, evidence, noise(2))
        assert verdict.accepted.tolist() == [1, 1]
        assert verdict.bias is not None
        assert float(verdict.bias.max()) == 0.0


def test_faults_of_use_are_named() -> None:
    with pytest.raises(ValueError, match="residual of lantern must be one of optimal, plain"):
        RelaxedChain(RELAXED["lantern"], "cluster")
    draft, evidence = tree_draft(PARENTS, 2, LAW_P, LAW_Q)
    with pytest.raises(TypeError, match="needs a chain"):
        RelaxedChain(RELAXED["cool"]).judge(draft, evidence, noise())


def test_certificates_follow_the_residual() -> None:
    policy = LanternPlus(RING, 1.5, 4)
    assert RelaxedTree(policy).certificate.kind == "bounded"
    assert RelaxedTree(policy, "official_static").certificate.kind == "lossy"
    cluster = RelaxedChain(RELAXED["partition"], "cluster").certificate
    assert "mass of every group" in cluster.why
    assert RelaxedChain(RELAXED["lantern"]).certificate.kind == "lossy"
    assert RelaxedChain(NEUTRAL["delta 0"], "official_static").certificate.kind == "lossy"
    assert RelaxedChain(NEUTRAL["delta 0"], "mass_moved").certificate.lossless
