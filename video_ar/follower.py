"""A video model beside one request: it reads committed blocks when it is next called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from video_ar.request import VideoRequest
from video_ar.rollout import BlockModel, Rollout, rollout


class VideoModel(BlockModel, Protocol):
    """A :class:`~video_ar.rollout.BlockModel` that knows how to begin."""

    def start(self, request: VideoRequest) -> Any:
        """A new context with room for the whole video; nothing is committed to it."""
        ...


class Follower:
    """Keeps one model's context, and counts what it costs.

    Blocks that were committed since the last call are read in one pass, and not at all where no
    call follows. Values are those of reading each at once, up to rounding.

    Attributes:
        evaluations: Evaluations of the network inside rollouts.
        passes: Passes over clean blocks.

    Args:
        model: Shared, never changed.
        request: With its noise.
    """

    def __init__(self, model: VideoModel, request: VideoRequest) -> None:
        self._model, self._request = model, request
        self._context: Any = None
        self._known = 0
        self.evaluations = 0
        self.passes = 0

    def catch_up(self, blocks: Sequence[Tensor]) -> None:
        """Read the blocks that are new among all committed ones."""
        if self._context is None:
            self._context = self._model.start(self._request)
        if fresh := blocks[self._known :]:
            self._model.commit(fresh, self._context)
            self._known = len(blocks)
            self.passes += 1

    def make(
        self, blocks: Sequence[Tensor], start: Tensor | None = None, start_step: int = 0
    ) -> Rollout:
        """Make the block that follows; commits nothing.

        Args:
            blocks: All committed ones.
            start: What enters ``start_step``; None begins with the block's own noise.
            start_step: The first step to run.
        """
        request, noise = self._request, self._request.noise
        if noise is None:
            raise ValueError("the request has no noise; run it through mmspec.engine.Engine")
        self.catch_up(blocks)
        step_noise = noise.steps(len(blocks), request.shape)
        entering = step_noise(0) if start is None else start
        made = rollout(
            self._model, self._context, entering, step_noise, request.schedule, start_step
        )
        self.evaluations += made.evaluations
        return made
