"""What the target sees in a draft at one of its steps, beside what the drafter saw there."""

from __future__ import annotations

from torch import Tensor

from video_ar.rollout import Rollout
from video_ar.state import VideoState, naming_block
from video_ar.timing import timed


class Agreement:
    """One evaluation of the target on a drafter's noisy state: made when asked for, then kept.

    With ``d`` and ``t`` the clean blocks that drafter and target tell from one and the same state,
    a latent frame's agreement is ``-|d - t| / |t|``: 0 where both see the same, about
    ``-sqrt(2)`` where they see two things that have nothing to do with each other.

    Attributes:
        step: The step that the target was asked about; None so far.
        seconds: What it took, the target's reading of committed blocks included.

    Args:
        state: Its target reads what was committed; nothing is committed.
        draft: The drafter's steps.
    """

    def __init__(self, state: VideoState, draft: Rollout) -> None:
        self._state, self._draft = state, draft
        self._seen: Tensor | None = None
        self.step: int | None = None
        self.seconds: dict[str, float] = {}

    def of(self, step: int) -> tuple[float, ...]:
        """Of each latent frame, at the state that entered ``step`` of the draft.

        Raises:
            ValueError: The draft has no such step.
        """
        own = self._draft.prediction(step)
        state = self._state
        with timed(self.seconds, "check", state.device):
            # Before step 0 there is noise only, which is the target's own as well.
            start = self._draft.state(step) if step else None
            with naming_block(state):
                self._seen = state.target.predict(state.blocks, start, step)
            self.step = step
            distance = _size(own - self._seen) / _size(self._seen)
            told: tuple[float, ...] = tuple((-distance).tolist())
        state.target_seconds += self.seconds["check"]
        return told

    def prediction(self, step: int) -> Tensor | None:
        """What the target saw at ``step``, for it to go on from; None if it was not asked."""
        return self._seen if self.step == step else None


def _size(block: Tensor) -> Tensor:
    """Root mean square of each latent frame ``(frames,)`` of ``(1, channels, frames, ...)``."""
    frames: Tensor = block[0].float().transpose(0, 1).flatten(1).square().mean(1).sqrt()
    return frames
