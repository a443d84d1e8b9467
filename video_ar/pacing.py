"""Whether a block is drafted at all: what a router knows beforehand costs no draft."""

from __future__ import annotations

from mmspec.messages import Commit, Plan
from video_ar.routers import Decision
from video_ar.state import VideoState


class AskRouter:
    """Drafts a block unless the router refuses it unseen.

    Such a block is neither drafted nor decoded in vain nor scored. The router is that of the
    request. Nothing else has a say: who drafts a block is part of what the video is, so it must
    not depend on how fast things went.
    """

    def plan(self, state: VideoState) -> Plan:
        """One block, or none."""
        step = state.request.router.decide(state.view())
        return Plan(length=0 if isinstance(step, Decision) and not step.accept else 1)

    def observe(self, commit: Commit, seconds: dict[str, float]) -> None:
        """Nothing to learn."""
