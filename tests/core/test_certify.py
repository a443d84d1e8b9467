"""The report acquits exact methods and convicts every biased one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from mmspec.certify import Certification, certify
from mmspec.distributions import Categorical
from mmspec.engine import Engine
from mmspec.goodness import Pool, chi_square
from mmspec.messages import Draft, Evidence, Plan, Verdict
from mmspec.pacing import Fixed
from mmspec.rules import Certificate, Exact
from mmspec.token_target import TokenTarget
from tests.core.test_rules_match import KeepsTheLaw, Typical
from tests.core.toy import (
    DynamicTree,
    FixedTree,
    MarkovDecoder,
    SampledChain,
    SampledSiblings,
    Silent,
    random_laws,
    request,
)

LENGTH_3 = Plan(3)
P, Q = random_laws(6, 6, 21), random_laws(6, 6, 22)
PATHS = [[0], [1], [0, 0], [1, 0]]


def report_of(
    drafter: Any, rule: Any = None, plan: Plan = LENGTH_3, **options: Any
) -> Certification:
    target = options.pop("target", None) or TokenTarget(MarkovDecoder(P))
    engine = Engine(
        target, drafter, rule or Exact(), Fixed(plan), lookahead=plan.nodes, strict=True
    )
    prompts = [[row % 6] for row in range(150)]
    asked = [request(prompts, max_new_tokens=12), request([[1, 2]] * 60, max_new_tokens=9)]
    return certify(engine, asked, **{"samples": 4, "positions": 4, **options})


EXACT = {
    "static tree": (FixedTree(Q, PATHS), Plan(2, 2, 4)),
    "dynamic tree": (DynamicTree(Q), Plan(3, 2, 6)),
    "sampled chain": (SampledChain(Q), Plan(3)),
    "sampled tree": (SampledSiblings([Q]), Plan(2, 2, 6)),
}


@pytest.mark.parametrize("case", EXACT.values(), ids=EXACT)
def test_exact_methods_are_acquitted(case: tuple[Any, Plan]) -> None:
    report = report_of(case[0], plan=case[1])
    assert report.lossless is True
    assert report.accepted > 0
    answers = {check.name: check.passed for check in report.checks}
    sampled = isinstance(case[0], SampledChain | SampledSiblings)
    assert answers == {"greedy": True, "law": True, "pathwise": None if sampled else True}
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["lossless"] is True
    assert len(document["tests"]) == 8
    assert str(report).startswith("LOSSLESS: every check passed")


class Careless(Typical):
    """Typical acceptance that also holds when the target is greedy."""

    def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
        if not evidence.law.is_one_hot:
            return super().judge(draft, evidence, noise)
        probs = evidence.law.scores.softmax(-1).float()  # type: ignore[attr-defined]
        return super().judge(draft, Evidence(Categorical(probs), evidence.positions), noise)


CONVICTED = {
    "soft law, argmax draft": (SampledChain(Q, greedy=True), Exact(), "law"),
    "wrong law recorded": (SampledChain(Q, recorded=Q.flip(-1)), Exact(), "law"),
    "typical acceptance": (FixedTree(P, [[0], [0, 0]]), Careless(), "law"),
    "typical acceptance, greedy": (FixedTree(P, [[1], [1, 0]]), Careless(), "greedy"),
}


@pytest.mark.parametrize("case", CONVICTED.values(), ids=CONVICTED)
def test_biased_methods_are_convicted(case: tuple[Any, Any, str]) -> None:
    drafter, rule, failed = case
    report = report_of(drafter, rule)
    assert report.lossless is False
    assert failed in {check.name for check in report.checks if check.passed is False}
    assert str(report).startswith("NOT LOSSLESS: failed: ")


def test_a_missing_residual_is_convicted() -> None:
    class Greedy(KeepsTheLaw):
        def judge(self, draft: Draft, evidence: Evidence, noise: Any) -> Verdict:
            if evidence.law.is_one_hot:
                return Exact().judge(draft, evidence, noise)
            return super().judge(draft, evidence, noise)

    assert report_of(SampledChain(Q), Greedy()).lossless is False


def test_a_cache_that_forgets_is_convicted() -> None:
    """The law is measured with the plain loop: an error of the fast path cannot hide in itself."""

    class Shifted(MarkovDecoder):
        def step(self, tokens: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
            logits, hidden = super().step(tokens, *rest)
            if tokens.shape[1] > 1:
                logits = torch.cat([logits[:, :1], logits[:, 1:].roll(1, -1)], dim=1)
            return logits, hidden

    report = report_of(FixedTree(Q, PATHS), target=TokenTarget(Shifted(P)), plan=Plan(2, 2, 4))
    failed = {check.name for check in report.checks if check.passed is False}
    assert failed == {"greedy", "law", "pathwise"}


def test_a_rule_that_promises_nothing_is_never_acquitted() -> None:
    class Honest(Exact):
        certificate = Certificate("lossy", "by its own account")

    report = report_of(FixedTree(Q, PATHS), Honest(), Plan(2, 2, 4))
    assert report.lossless is False
    assert "does not promise" in report.reasons[0]


def test_without_drafts_nothing_is_proven() -> None:
    report = report_of(Silent(), plan=Plan(0))
    assert report.lossless is None
    assert str(report).startswith("NOT PROVEN: nothing was drafted")


@pytest.mark.parametrize(("gap", "allowed"), [(0.2, True), (0.8, False)])
def test_below_float32_only_near_ties_may_differ(gap: float, allowed: bool) -> None:
    class Rounds(MarkovDecoder):
        """Blocks of several tokens see the two best logits swapped."""

        def step(self, tokens: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
            logits, hidden = super().step(tokens, *rest)
            if tokens.shape[1] > 1:
                logits = logits[..., [1, 0, 2]]
            return logits, hidden

    decoder = Rounds(torch.tensor([[4.0 + gap, 4.0, -50.0]] * 3).softmax(-1))
    decoder.logits = torch.tensor([[4.0 + gap, 4.0, -50.0]] * 3).bfloat16()
    engine = Engine(
        TokenTarget(decoder),
        FixedTree(torch.eye(3) + 0.1, [[0]]),
        pacer=Fixed(Plan(1)),
        lookahead=1,
    )
    report = certify(engine, [request([[0]], max_new_tokens=6)], samples=20, positions=2)
    greedy = report.checks[0]
    assert (greedy.passed, report.tolerance) == (allowed, 0.5)
    assert report.divergences[0].position == 1
    assert report.divergences[0].gap == pytest.approx(gap, abs=0.02)
    assert report.divergences[0].allowed is allowed


def test_usage_errors_say_what_to_do() -> None:
    engine = Engine(TokenTarget(MarkovDecoder(P)))
    with pytest.raises(ValueError, match="at least one request"):
        certify(engine, [])
    with pytest.raises(ValueError, match="ask for 20 or more"):
        certify(engine, [request([[1]])], samples=3)


def test_chi_square_equals_scipy() -> None:
    observed = torch.tensor([30.0, 52.0, 11.0, 2.0, 5.0])
    expected = torch.tensor([40.0, 45.0, 9.0, 3.0, 3.0])
    found = chi_square("x", observed, expected)
    statistic = 100 / 40 + 49 / 45 + 4 / 9 + 1 / 6
    assert (found.freedom, found.samples) == (3, 100)
    assert found.statistic == pytest.approx(statistic)
    assert found.p_value == pytest.approx(chi2.sf(statistic, 3))


def test_pools_are_calibrated_when_every_unit_has_a_law_of_its_own() -> None:
    """Over many pools of right laws few p-values are small; ranks are uniform."""
    generator = torch.Generator().manual_seed(4)
    values = []
    for index in range(60):
        laws = random_laws(300, 12, 1000 + index, sharp=2.0)
        pool = Pool("x", generator)
        pool.add(laws, torch.multinomial(laws, 1, generator=generator).squeeze(1))
        values.append([test.p_value for test in pool.tests()])
    units, ranks = torch.tensor(values).T
    assert 0.3 < float(ranks.mean()) < 0.7
    assert float(units.mean()) > 0.5
    assert float(torch.stack([units, ranks]).min()) > 1e-3
