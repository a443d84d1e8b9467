"""Evidence that does not fit together is refused; scoring is on demand."""

from __future__ import annotations

import pytest
import torch

from video_ar.routers import (
    Answer,
    AskReference,
    AskTarget,
    BlockEvidence,
    Decision,
    MoreScores,
    Threshold,
    route,
)
from video_ar.routers.protocol import LOSSY

KEPT, REFUSED = Decision(True, None, ""), Decision(False, None, "")


def test_scores_add_up() -> None:
    evidence = BlockEvidence(0, 9, 4)
    assert evidence.missing == (0, 1, 2, 3)
    more = evidence.with_scores((3, 1), torch.tensor([0.25, -1.0]))
    assert more.scores == {3: 0.25, 1: -1.0}
    assert more.missing == (0, 2)
    assert evidence.missing == (0, 1, 2, 3)
    with pytest.raises(ValueError, match="2 frames need as many scores"):
        more.with_scores((0, 2), torch.zeros(3))


def test_target_blocks_are_counted() -> None:
    assert BlockEvidence(3, 9, 4, history=(REFUSED, KEPT, REFUSED)).target_blocks == 2


def test_evidence_is_checked() -> None:
    with pytest.raises(ValueError, match="block 2 comes after 2 decisions, got 1"):
        BlockEvidence(2, 9, 12, history=(KEPT,))
    with pytest.raises(ValueError, match="block must be a whole number from 0 to 8, got 9"):
        BlockEvidence(9, 9, 12, history=(KEPT,) * 9)
    with pytest.raises(ValueError, match=r"no frames \[12\]"):
        BlockEvidence(0, 9, 12, scores={12: 0.0})


def test_a_router_that_never_decides_is_stopped() -> None:
    class Undecided:
        name = "undecided"
        needs_pixels = needs_scores = True
        check_step = 1
        certificate = LOSSY

        def __init__(self, wish: Answer) -> None:
            self.wish = wish

        def decide(self, evidence: BlockEvidence) -> Answer:
            return self.wish

    def ask(wish: Answer) -> Decision:
        evidence = BlockEvidence(0, 1, 2)
        return route(
            Undecided(wish),
            evidence,
            lambda frames: torch.zeros(len(frames)),
            lambda step: (0.0,),
            lambda: 0.0,
        )

    with pytest.raises(ValueError, match=r"router 'undecided' asks again for frames \(0,\)"):
        ask(MoreScores((0,)))
    with pytest.raises(ValueError, match="asks again for what the target sees at step 1 of block"):
        ask(AskTarget(1))
    with pytest.raises(ValueError, match="asks again for the score of the target's last block"):
        ask(AskReference())


def test_known_scores_are_not_asked_for_again() -> None:
    evidence = BlockEvidence(0, 1, 3, scores={1: 0.0})
    assert Threshold(0.0).decide(evidence) == MoreScores((0, 2))
