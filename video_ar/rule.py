"""The rule of video: a router decides whether a drafted block stays."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from video_ar.checks import check_count
from video_ar.laws import Seen
from video_ar.rewards.protocol import FrameScorer
from video_ar.routers import Decision, Router, TargetOnly, route


@dataclass(frozen=True)
class Routing:
    """What a rule tells the target about the block that is due.

    Attributes:
        decision: Whether the draft stays, and why.
        start_step: For a refused draft, the step before which the target takes over; what the
            drafter made of the block up to there stays. 0 begins anew.
        steps: How many steps the target runs from there on; None for all.
    """

    decision: Decision
    start_step: int = 0
    steps: int | None = None


class Routed:
    """Accepts a block or has the target make it from the same noise (SDVG, arXiv 2604.17397).

    Reads no law: the video is no sample of the target's unless every block is the target's own.

    Args:
        router: Decides.
        scorer: Scores the pictures that the router asks for.
        start_step: How many steps of a refused draft are kept (step stitching, a later version of
            the paper; 3 of 4 there). Block 0 is never stitched.
        steps: Steps that the target runs for a refused draft; None for all that are left. Block 0
            always gets all.

    Raises:
        ValueError: A router without the scorer that it needs, or a negative step.
    """

    def __init__(
        self,
        router: Router,
        scorer: FrameScorer | None = None,
        start_step: int = 0,
        steps: int | None = None,
    ) -> None:
        check_count("stitch", start_step)
        if router.needs_scores and scorer is None:
            raise ValueError(f"router '{router.name}' compares scores; give it a scorer")
        self.router, self.scorer = router, scorer
        self.start_step, self.steps = start_step, steps
        self.certificate = router.certificate

    def plain(self) -> Routed:
        """The target makes every block."""
        return Routed(TargetOnly())

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure; pictures, scores and checks are made by the evidence, as far as the router asks.

        Raises:
            TypeError: Evidence about anything but video blocks.
        """
        law = evidence.law
        if not isinstance(law, Seen):
            raise TypeError(f"a router needs video blocks, not {type(law).__name__}")
        if law.view is None:
            return _verdict(draft, None, evidence.positions.device)
        decision = self._decision(draft, law)
        again = draft.nodes and not decision.accept and law.view.block
        start_step = self.start_step if again and law.finite else 0
        routing = Routing(decision, start_step, self.steps if again else None)
        return _verdict(draft, routing, evidence.positions.device)

    def _decision(self, draft: Draft, law: Seen) -> Decision:
        assert law.view is not None
        if not draft.nodes:
            step = self.router.decide(law.view)
            if isinstance(step, Decision) and not step.accept:
                return step
            return Decision(False, None, "nothing was drafted")
        if not law.finite:
            return Decision(False, None, "the draft is not finite")
        assert law.preview is not None
        return route(
            self.router,
            law.view,
            law.preview.scores,
            lambda step: _agreement(law, step),
            lambda: _reference(law),
        )


def _agreement(law: Seen, step: int) -> tuple[float, ...]:
    if law.agreement is None:
        raise ValueError(
            "the router asks what the target sees in a draft, and this drafter tells nothing of "
            "its steps; use video_ar.drafter.BlockDrafter, or a router that looks at pictures"
        )
    return law.agreement.of(step)


def _reference(law: Seen) -> float:
    if law.written is None:
        raise ValueError(
            "the router compares scores with a block of the target's, and it wrote none"
        )
    return law.written.worst()


def _verdict(draft: Draft, routing: Routing | None, device: torch.device) -> Verdict:
    """In the loop's terms."""
    batch, nodes = draft.batch, draft.nodes
    accept = routing is not None and routing.decision.accept
    path = torch.full((batch, nodes), 0 if accept else -1, dtype=torch.long, device=device)
    score = routing.decision.score if routing is not None else None
    return Verdict(
        path=path,
        accepted=torch.full((batch,), int(accept), dtype=torch.long, device=device),
        own=None,
        corrected=torch.full((batch,), bool(nodes and not accept), device=device),
        again=routing,
        score=None if score is None else torch.full((batch, nodes), score, device=device),
    )
