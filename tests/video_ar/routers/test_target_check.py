"""The router that asks the target: one question, then a threshold."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from video_ar.routers import AskTarget, BlockEvidence, Decision, Forced, TargetCheck

ASKED = BlockEvidence(0, 1, 9, agreement=(-0.1, -0.6, -0.2))


def accepts(tau: float, evidence: BlockEvidence = ASKED, **options: object) -> bool:
    decision = TargetCheck(tau, **options).decide(evidence)  # type: ignore[arg-type]
    assert isinstance(decision, Decision)
    return decision.accept


def test_it_asks_once_and_then_decides() -> None:
    router = TargetCheck(-0.5, step=3)
    assert router.decide(BlockEvidence(0, 1, 9)) == AskTarget(3)
    assert router.check_step == Forced({0}, router).check_step == 3
    decision = router.decide(ASKED)
    assert isinstance(decision, Decision)
    assert not decision.accept
    assert decision.score == -0.6
    assert "agreement at step 3" in decision.reason


def test_the_decision_is_monotone_in_the_threshold() -> None:
    taus = [-math.inf, -0.7, -0.6, -0.3, -0.2, 0.0, math.inf]
    for aggregate in ("min", "mean", "quantile"):
        kept = [accepts(tau, aggregate=aggregate) for tau in taus]
        assert kept == sorted(kept, reverse=True)
        assert (kept[0], kept[-1]) == (True, False)
    assert accepts(-0.6)
    assert not accepts(-0.3)
    assert accepts(-0.3, aggregate="mean")


def test_what_is_no_number_is_refused() -> None:
    assert not accepts(-math.inf, replace(ASKED, agreement=(0.0, math.nan)))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="tau must be a number"):
        TargetCheck(math.nan)
    with pytest.raises(ValueError, match="step must be a whole number"):
        TargetCheck(0.0, step=-1)
    with pytest.raises(ValueError, match="unknown aggregate"):
        TargetCheck(0.0, aggregate="max")  # type: ignore[arg-type]
