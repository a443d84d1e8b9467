"""A drafter of video blocks: a smaller model on the noise that the target uses."""

from __future__ import annotations

import torch

from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from video_ar.follower import Follower, VideoModel
from video_ar.laws import Drafted
from video_ar.state import VideoState
from video_ar.timing import timed


class BlockDrafter:
    """Makes the next block with its own model.

    Noise is a function of block and step, so with the target's weights it drafts what the target
    would make.

    Args:
        model: The drafting model.
        name: For the trace.
        steps: Steps of the schedule that it runs, the first ones; None runs all. A block that goes
            on from a clean past is often decided by the first.
    """

    def __init__(
        self, model: VideoModel, name: str = "draft-video", steps: int | None = None
    ) -> None:
        self.model, self.name, self.steps = model, name, steps
        self._own: Follower | None = None

    def reset(self) -> None:
        """Forget the video."""
        self._own = None

    @torch.no_grad()
    def draft(self, state: VideoState, plan: Plan, noise: Noise) -> Draft:
        """Read what was committed since, then make one block; none where the plan has none."""
        if plan.length < 1:
            return Draft.empty(state.batch, state.device)
        if self._own is None:
            self._own = Follower(self.model, state.request)
        seconds: dict[str, float] = {}
        with timed(seconds, "draft", state.device):
            made = self._own.make(state.blocks, steps=self.steps)
        units = made.x0.unsqueeze(1)
        healthy = units.isfinite().flatten(1).all(1)
        law = Drafted(made, seconds["draft"])
        return Draft.chain(units, law, source=self.name, healthy=healthy)

    def observe(
        self, state: VideoState, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Nothing to note: the next draft reads the committed blocks."""
