"""Forced blocks and budgets: identities with simpler routers, and work that is not done."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.video_ar.routers.world import accepts, run
from video_ar.routers import (
    AskReference,
    BlockEvidence,
    Budget,
    Cascade,
    Decision,
    DraftOnly,
    FirstBlock,
    Forced,
    MoreScores,
    Random,
    Relative,
    Router,
    Stride,
    TargetOnly,
    Threshold,
)

REFUSED, KEPT = Decision(False, None, ""), Decision(True, None, "")


def test_forcing_the_first_block_of_drafts_is_the_first_block_router() -> None:
    forced, first = (run(router)[0] for router in (Forced({0}, DraftOnly()), FirstBlock()))
    assert accepts(forced) == accepts(first)
    assert accepts(run(Forced({0}, Threshold(-math.inf)))[0]) == accepts(first)


def test_forcing_what_a_stride_has_anyway_changes_nothing() -> None:
    assert accepts(run(Forced({0, 3, 6}, Stride(3)))[0]) == accepts(run(Stride(3))[0])


def test_forced_blocks_are_decided_before_a_draft() -> None:
    router = Forced([0, 2], Threshold(-math.inf))
    decisions, scored = run(router, blocks=4)
    assert accepts(decisions) == [False, True, False, True]
    assert scored == [0, 12, 0, 12]


@pytest.mark.parametrize("inner", [TargetOnly(), Random(0.5), Threshold(0.0), Cascade(0.0)])
def test_needs_are_those_of_the_inner_router(inner: Router) -> None:
    for router in (Forced({0}, inner), Budget(3, inner=inner)):
        assert router.needs_scores == inner.needs_scores
        assert router.needs_pixels == inner.needs_pixels
    assert Forced({0}, inner).certificate == inner.certificate
    assert not Budget(3, inner=inner).certificate.lossless


def test_relative_scores_are_differences() -> None:
    router = Relative(Threshold(-0.5))
    first = BlockEvidence(0, 3, 2)
    assert not router.decide(first).accept
    second = BlockEvidence(1, 3, 2, history=(REFUSED,), scores={0: -3.0, 1: -3.4})
    assert router.decide(second) == AskReference()
    for reference, kept in ((-3.0, True), (-2.8, False), (math.nan, False)):
        decision = router.decide(replace(second, reference=reference))
        assert decision.accept == kept
        assert decision.score == pytest.approx(-3.4 - reference, nan_ok=True)
    assert router.needs_scores
    assert router.certificate == Threshold(0.0).certificate


@pytest.mark.parametrize("most", [0, 1, 3, 9])
def test_a_plain_budget_goes_to_the_first_blocks(most: int) -> None:
    assert accepts(run(Budget(most))[0]) == [False] * most + [True] * (9 - most)


@pytest.mark.parametrize("most", [0, 1, 2, 5])
def test_a_budget_follows_the_inner_router_until_it_is_spent(most: int) -> None:
    inner = Threshold(-1.6)
    for video in range(20):
        limited, scored = run(Budget(most, inner=inner), video)
        free, _ = run(inner, video)
        left = most
        for block, (one, other) in enumerate(zip(limited, free, strict=True)):
            if left == 0:
                assert one.accept
                assert scored[block] == 0
                continue
            assert one == other
            left -= not one.accept
        assert sum(not decision.accept for decision in limited) <= most


def seconds(spent: float, *history: Decision, router: Router) -> Decision | MoreScores:
    evidence = BlockEvidence(len(history), 9, 12, history=history, target_seconds=spent)
    return router.decide(evidence)


def test_a_budget_of_time_counts_the_next_block_at_the_mean_so_far() -> None:
    router = Budget(seconds=30.0)
    for spent, history, accept in (
        (0.0, (), False),
        (0.0, (KEPT,), False),
        (15.0, (REFUSED,), False),
        (15.1, (REFUSED,), True),
        (20.0, (REFUSED, KEPT, REFUSED), False),
        (20.1, (REFUSED, KEPT, REFUSED), True),
    ):
        decision = seconds(spent, *history, router=router)
        assert isinstance(decision, Decision)
        assert decision.accept is accept


def test_the_tighter_of_two_limits_counts() -> None:
    router = Budget(1, seconds=1000.0)
    decision = seconds(1.0, REFUSED, router=router)
    assert isinstance(decision, Decision)
    assert decision.accept


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        Budget()
    with pytest.raises(ValueError, match="max_target_blocks must be a whole number"):
        Budget(-1)
    with pytest.raises(ValueError, match="seconds must be a number of at least 0"):
        Budget(seconds=math.nan)
    with pytest.raises(ValueError, match="a forced block must be a whole number"):
        Forced({-1}, DraftOnly())
