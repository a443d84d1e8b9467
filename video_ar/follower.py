"""A video model beside one request: it reads committed blocks when it is next called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from video_ar.request import VideoRequest
from video_ar.rollout import BlockModel, Rollout, predict, rollout


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
        evaluations: Evaluations of the network on noisy blocks.
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
        self,
        blocks: Sequence[Tensor],
        start: Tensor | None = None,
        start_step: int = 0,
        known: Tensor | None = None,
        steps: int | None = None,
    ) -> Rollout:
        """Make the block that follows; commits nothing.

        Args:
            blocks: All committed ones.
            start: What enters ``start_step``; None begins with the block's own noise.
            start_step: The first step to run.
            known: What :meth:`predict` said of that start.
            steps: Stop after so many; None runs all that are left.
        """
        step_noise = self._noise(blocks)
        self.catch_up(blocks)
        made = rollout(
            self._model,
            self._context,
            step_noise(0) if start is None else start,
            step_noise,
            self._request.schedule,
            start_step,
            known,
            steps,
        )
        self.evaluations += made.evaluations
        return made

    def predict(self, blocks: Sequence[Tensor], start: Tensor | None, step: int) -> Tensor:
        """The clean block that the model sees in what enters ``step`` of the block that follows.

        Args:
            blocks: All committed ones.
            start: What enters; None is the block's own noise.
            step: Of the schedule.
        """
        step_noise = self._noise(blocks)
        self.catch_up(blocks)
        entering = step_noise(0) if start is None else start
        self.evaluations += 1
        return predict(self._model, self._context, entering, self._request.schedule, step)

    def _noise(self, blocks: Sequence[Tensor]) -> Callable[[int], Tensor]:
        """Of the block that follows, by step."""
        if self._request.noise is None:
            raise ValueError("the request has no noise; run it through mmspec.engine.Engine")
        return self._request.noise.steps(len(blocks), self._request.shape)
