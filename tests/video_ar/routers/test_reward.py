"""Threshold and running quantile: what is monotone, what is not, and numbers that are none."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from tests.video_ar.routers.world import accepts, frame_scores, run
from video_ar.routers import BlockEvidence, Decision, Forced, Quantile, Router, Threshold
from video_ar.routers.reward import Aggregate, block_score

INF = math.inf
TAUS = [-INF, -3.0, -2.5, -2.0, -1.8, -1.6, -1.4, -1.2, -1.0, -0.5, 0.0, INF]
AGGREGATES: tuple[Aggregate, ...] = ("min", "mean", "quantile")


def decide(router: Router, scores: list[float]) -> Decision:
    evidence = BlockEvidence(0, 1, len(scores), scores=dict(enumerate(scores)))
    decision = router.decide(evidence)
    assert isinstance(decision, Decision)
    return decision


def first_refusal(decisions: list[Decision]) -> int:
    """After the forced block; the number of blocks where there is none."""
    kept = accepts(decisions)
    return next((block for block in range(1, len(kept)) if not kept[block]), len(kept))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_the_first_refusal_is_monotone_in_tau(aggregate: Aggregate) -> None:
    for video in range(40):
        firsts = [
            first_refusal(run(Forced({0}, Threshold(tau, aggregate)), video)[0]) for tau in TAUS
        ]
        assert all(later <= sooner for sooner, later in pairwise(firsts))
        assert (firsts[0], firsts[-1]) == (9, 1)


def test_the_number_of_kept_blocks_is_not() -> None:
    """A refusal changes what later blocks look like: a stricter router can keep more of them."""
    counts = [
        [sum(accepts(run(Forced({0}, Threshold(tau)), video)[0])) for tau in TAUS]
        for video in range(40)
    ]
    assert any(later > sooner for row in counts for sooner, later in pairwise(row))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_the_decision_at_a_fixed_history_is_monotone_in_tau(aggregate: Aggregate) -> None:
    for video in range(60):
        scores = frame_scores(video, 0, ()).tolist()
        kept = [decide(Threshold(tau, aggregate), scores).accept for tau in TAUS]
        assert kept == sorted(kept, reverse=True)


@pytest.mark.parametrize("length", [1, 2, 3, 12])
def test_minimum_mean_and_maximum_are_in_order(length: int) -> None:
    for video in range(100):
        scores = frame_scores(video, 1, (True,), length).tolist()
        for row in (scores, scores[:1] * length):
            least, mean = (block_score(row, how, 0.0) for how in ("min", "mean"))
            quantiles = [block_score(row, "quantile", level) for level in (0.0, 0.3, 1.0)]
            assert least <= mean <= max(row)
            assert quantiles == sorted(quantiles)
            assert (quantiles[0], quantiles[-1]) == (least, max(row))


@pytest.mark.parametrize("value", [0.3, 0.7])
def test_they_are_in_order_after_rounding_too(value: float) -> None:
    """The plain sum of these over their number is outside by one unit in the last place."""
    below = float(np.nextafter(value, 0))
    outside = False
    for row in ([value] * 11 + [below], [below] * 11 + [value]):
        assert below <= block_score(row, "mean", 0.0) <= value
        outside = outside or not below <= sum(row) / 12 <= value
    assert outside


def test_the_minimum_keeps_a_subset_of_what_the_mean_keeps() -> None:
    strict = lenient = 0
    for video in range(100):
        scores = frame_scores(video, 2, (True, True)).tolist()
        by_min = decide(Threshold(-1.2), scores).accept
        by_mean = decide(Threshold(-1.2, "mean"), scores).accept
        assert by_min <= by_mean
        strict, lenient = strict + by_min, lenient + by_mean
    assert 0 < strict < lenient


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_infinite_thresholds_keep_nothing_or_all(aggregate: Aggregate) -> None:
    assert not any(accepts(run(Threshold(INF, aggregate))[0]))
    assert all(accepts(run(Threshold(-INF, aggregate))[0]))


def test_equality_keeps() -> None:
    assert decide(Threshold(-0.5), [-0.5, 1.0]).accept
    assert not decide(Threshold(np.nextafter(-0.5, 0)), [-0.5, 1.0]).accept


@pytest.mark.parametrize("router", [Threshold(-INF), Threshold(-INF, "mean"), Quantile()])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_score_that_is_no_number_never_keeps_a_block(router: Router, place: int) -> None:
    scores = [5.0, 5.0, 5.0]
    scores[place] = math.nan
    decision = decide(router, scores)
    assert not decision.accept
    assert "not a number" in decision.reason


def test_every_frame_is_scored_once() -> None:
    assert run(Threshold(0.0))[1] == [12] * 9


@pytest.mark.parametrize("tau", [math.nan, None, "0.5", True])
def test_a_tau_that_is_no_number_is_refused(tau: float) -> None:
    with pytest.raises(ValueError, match="tau must be a number"):
        Threshold(tau)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="choose from min, mean, quantile"):
        Threshold(0.0, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level must be a number from 0 to 1"):
        Threshold(0.0, "quantile", 1.5)
    for rate in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="rate must"):
            Quantile(rate)
    with pytest.raises(ValueError, match="prior_std must be positive"):
        Quantile(prior_std=0.0)


def evidence(*past: float | None, earlier: tuple[float, ...] = ()) -> BlockEvidence:
    history = tuple(Decision(True, score, "") for score in past)
    return BlockEvidence(len(past), 9, 1, history=history, earlier=earlier)


def test_quantile_starts_from_the_published_prior() -> None:
    """0.72 of nine blocks is 0.81 of the eight that are not forced."""
    router = Quantile()
    assert router.share(9) == pytest.approx(0.81)
    expected = NormalDist(0.566, 1.071).inv_cdf(0.19)
    assert router.threshold(evidence(None)) == pytest.approx(expected)
    assert router.threshold(evidence(None, 3.0, 3.0, 3.0, 3.0)) == pytest.approx(expected)


def test_quantile_then_takes_that_of_the_past() -> None:
    past = (None, 0.0, 1.0, 2.0, 3.0, 4.0)
    assert Quantile().threshold(evidence(*past)) == pytest.approx(4 * 0.19)
    earlier = (math.nan, 0.0, 1.0, 2.0, 3.0, 4.0)
    assert Quantile().threshold(evidence(None, earlier=earlier)) == pytest.approx(4 * 0.19)


def test_the_share_is_capped() -> None:
    assert Quantile(0.9).share(9) == 0.95
    assert Quantile(0.5).share(2) == 0.95
    assert Quantile(0.5).share(1) == 0.95
    assert Quantile(0.6, forced=0).share(9) == pytest.approx(0.6)


def test_quantile_keeps_its_rate_whatever_the_scale() -> None:
    """Scores far from the prior's scale: the past takes over, and the rate comes out."""
    router, kept = Quantile(0.6), 0
    scores = torch.randn(400, generator=torch.Generator().manual_seed(3))
    earlier: tuple[float, ...] = ()
    videos, blocks = 50, 9
    for video in range(videos):
        history: tuple[Decision, ...] = (Decision(False, None, "forced"),)
        for block in range(1, blocks):
            score = 100 + 7 * float(scores[video * 8 + block - 1])
            seen = BlockEvidence(block, blocks, 1, {0: score}, history, earlier)
            decision = router.decide(seen)
            assert isinstance(decision, Decision)
            history = (*history, decision)
            kept += decision.accept
        earlier += tuple(d.score for d in history if d.score is not None)
    assert binomtest(kept, videos * 8, 0.675).pvalue > 1e-3
    assert kept / (videos * blocks) == pytest.approx(0.6, abs=0.05)
