"""Routers that see nothing: their plans, and the law of the coin."""

from __future__ import annotations

from itertools import pairwise

import pytest
from scipy.stats import binomtest

from tests.video_ar.routers.world import accepts, run
from video_ar.routers import (
    BlockEvidence,
    Decision,
    DraftOnly,
    FirstBlock,
    Random,
    Router,
    Stride,
    TargetOnly,
)

NONE = Decision(True, None, "")


def decide(router: Router, block: int, seed: int = 0) -> Decision:
    known = BlockEvidence(block, block + 1, 12, history=(NONE,) * block, seed=seed)
    decision = router.decide(known)
    assert isinstance(decision, Decision)
    return decision


@pytest.mark.parametrize(
    ("router", "plan"),
    [
        (TargetOnly(), [False] * 6),
        (DraftOnly(), [True] * 6),
        (FirstBlock(), [False] + [True] * 5),
        (Stride(1), [False] * 6),
        (Stride(3), [False, True, True, False, True, True]),
        (Stride(3, 2), [True, True, False, True, True, False]),
        (Random(0.0), [False] * 6),
        (Random(1.0), [True] * 6),
    ],
)
def test_plans_are_decided_without_a_draft(router: Router, plan: list[bool]) -> None:
    decisions, scored = run(router, blocks=6)
    assert accepts(decisions) == plan
    assert scored == [0] * 6
    assert not router.needs_scores
    assert not router.needs_pixels
    assert all(decision.score is None for decision in decisions)


def test_only_the_target_alone_is_exact() -> None:
    assert TargetOnly().certificate.lossless
    for router in (DraftOnly(), FirstBlock(), Stride(2), Random(0.5)):
        assert not router.certificate.lossless


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7])
def test_the_coin_keeps_its_rate(rate: float) -> None:
    kept = sum(decide(Random(rate, seed), block).accept for seed in range(60) for block in range(9))
    assert binomtest(kept, 540, rate).pvalue > 1e-3
    assert binomtest(kept, 540, rate + 0.12).pvalue < 1e-3


def test_the_coin_is_a_function_of_seed_and_block_and_fair_in_both() -> None:
    one = [decide(Random(0.5, 7), block).accept for block in range(300)]
    assert one == [decide(Random(0.5, 7), block).accept for block in range(300)]
    elsewhere = [decide(Random(0.5, 7), block, seed=1).accept for block in range(300)]
    assert 100 < sum(a == b for a, b in zip(one, elsewhere, strict=True)) < 200
    other = [decide(Random(0.5, 8), block).accept for block in range(300)]
    neighbours = [a == b for a, b in pairwise(one)]
    seeds = [a == b for a, b in zip(one, other, strict=True)]
    for fair in (one, neighbours, seeds):
        assert binomtest(sum(fair), len(fair), 0.5).pvalue > 1e-3


def test_blocks_kept_at_one_rate_are_kept_at_a_higher_one() -> None:
    for block in range(200):
        assert decide(Random(0.3), block).accept <= decide(Random(0.6), block).accept


def test_options_are_checked() -> None:
    for rate in (-0.1, 1.1, float("nan"), True):
        with pytest.raises(ValueError, match="rate must be a number from 0 to 1"):
            Random(rate)
    with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
        Stride(0)
    with pytest.raises(ValueError, match="phase must be a whole number from 0 to 1, got 2"):
        Stride(2, 2)
