"""Early exit: the decisions of full scoring without a band, those of the published one with it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.video_ar.routers.world import accepts, counting, frame_scores, run, unasked, unreferred
from video_ar.routers import BlockEvidence, Cascade, Decision, Forced, Threshold, route

TAUS = (-math.inf, -2.5, -1.8, -1.2, -0.6, math.inf)
SUBSET = (0, 4, 7, 11)


def decide(router: Cascade | Threshold, scores: Tensor) -> tuple[Decision, list[int]]:
    asked: list[int] = []
    evidence = BlockEvidence(0, 1, len(scores))
    return route(router, evidence, counting(scores, asked), unasked, unreferred), asked


def orders(count: int, frames: int) -> list[tuple[int, ...] | None]:
    generator = torch.Generator().manual_seed(5)
    shuffled = [tuple(torch.randperm(frames, generator=generator).tolist()) for _ in range(count)]
    return [None, tuple(range(frames)), *shuffled]


@pytest.mark.parametrize("group", [1, 3, 4, 12, 50])
@pytest.mark.parametrize("frames", [1, 2, 9, 12])
def test_without_a_band_decisions_are_those_of_full_scoring(group: int, frames: int) -> None:
    for order in orders(4, frames):
        for video in range(12):
            scores = frame_scores(video, 0, (), frames)
            for tau in TAUS:
                full, _ = decide(Threshold(tau), scores)
                early, asked = decide(Cascade(tau, group, order=order), scores)
                assert early.accept == full.accept
                assert len(asked) == len(set(asked))
                if early.accept:
                    assert early.score == full.score
                    assert len(asked) == frames


def test_whole_videos_are_the_same_and_cost_less() -> None:
    costs = torch.zeros(2)
    for video in range(20):
        full, all_frames = run(Forced({0}, Threshold(-1.6)), video)
        early, some = run(Forced({0}, Cascade(-1.6)), video)
        assert accepts(early) == accepts(full)
        assert some[0] == all_frames[0] == 0
        costs += torch.tensor([sum(some), sum(all_frames)])
    assert costs[0] < 0.8 * costs[1]


@pytest.mark.parametrize("band", [None, 0.5])
def test_a_frame_at_the_threshold_settles_nothing(band: float | None) -> None:
    scores = torch.full((12,), -1.0, dtype=torch.float64)
    kept, asked = decide(Cascade(-1.0, band=band), scores)
    assert kept.accept
    assert len(asked) == 12
    scores[10] = -1.1
    refused, _ = decide(Cascade(-1.0, band=band), scores)
    assert not refused.accept


def test_a_refusal_costs_no_frame_after_the_one_that_settles_it() -> None:
    scores = torch.zeros(12, dtype=torch.float64)
    scores[5] = -3.0
    decision, asked = decide(Cascade(-1.0, 1, order=tuple(range(12))), scores)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert decision == Decision(False, -3.0, "min score of 6 of 12 frames -3 < -1")


def published(scores: Tensor, tau: float, band: float) -> tuple[bool, bool]:
    """The three ways out of the paper, and whether the first was taken."""
    some = float(scores[list(SUBSET)].min())
    if some >= tau + band:
        return True, True
    if some <= tau - band:
        return False, False
    return float(scores.min()) >= tau, False


@pytest.mark.parametrize("band", [0.0, 0.3, 1.0])
def test_with_a_band_decisions_are_the_published_ones(band: float) -> None:
    for video in range(150):
        scores = frame_scores(video, 0, ())
        for tau in (-2.0, -1.6, -1.0):
            accept, early = published(scores, tau, band)
            decision, asked = decide(Cascade(tau, band=band), scores)
            assert decision.accept == accept
            assert asked[:4] == list(SUBSET)
            if early:
                assert len(asked) == 4


def test_a_band_can_keep_what_full_scoring_refuses() -> None:
    scores = torch.zeros(12, dtype=torch.float64)
    scores[5] = -3.0
    assert decide(Cascade(-1.0, band=0.5), scores)[0].accept
    assert not decide(Threshold(-1.0), scores)[0].accept


@pytest.mark.parametrize("band", [None, 0.0])
def test_a_score_that_is_no_number_never_keeps_a_block(band: float | None) -> None:
    scores = torch.zeros(12, dtype=torch.float64)
    scores[7] = math.nan
    decision, asked = decide(Cascade(-1.0, band=band), scores)
    assert not decision.accept
    assert len(asked) == 4


def test_default_order_spreads_the_first_group() -> None:
    assert Cascade(0.0).plan(12) == (*SUBSET, 1, 2, 3, 5, 6, 8, 9, 10)
    assert Cascade(0.0, group=2).plan(3) == (0, 2, 1)
    assert Cascade(0.0).plan(1) == (0,)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="tau must be a number"):
        Cascade(math.nan)
    with pytest.raises(ValueError, match="group"):
        Cascade(0.0, 0)
    with pytest.raises(ValueError, match="band must be a number of at least 0"):
        Cascade(0.0, band=-0.1)
    with pytest.raises(ValueError, match="each of the block's 3 frames once"):
        Cascade(0.0, order=(0, 1, 1)).decide(BlockEvidence(0, 1, 3))
