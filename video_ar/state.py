"""The state of one video: committed blocks are the only truth, all else follows from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from video_ar.follower import Follower, VideoModel
from video_ar.request import VideoRequest
from video_ar.routers import BlockEvidence, Decision
from video_ar.schedule import pixel_frames


class VideoState:
    """Of a request that is being made.

    Attributes:
        request: What is made.
        target: The target beside its context.
        blocks: Committed latents ``(1, channels, frames, height, width)``.
        history: What became of each of them.
        memory: The decoder's, after the last committed block; None at the start.
        written: The block that the target wrote last, a :class:`~video_ar.preview.Preview`; None at
            the start.
        shown: The last committed pictures ``(frames, 3, height, width)`` in [0, 1], as many as
            the scorer looks back; None where it does not.
        target_seconds: Time that the target has spent on blocks and checks.
        counted: Evaluations and passes of the target up to the last committed block.

    Args:
        model: The target.
        request: With its noise.
    """

    def __init__(self, model: VideoModel, request: VideoRequest) -> None:
        self.request = request
        self.target = Follower(model, request)
        self.blocks: list[Tensor] = []
        self.history: list[Decision] = []
        self.memory: Any = None
        self.written: Any = None
        self.shown: Tensor | None = None
        self.target_seconds = 0.0
        self.counted = (0, 0)

    @property
    def batch(self) -> int:
        """Videos."""
        return self.request.rows

    @property
    def device(self) -> torch.device:
        """Where latents are."""
        return self.request.device

    @property
    def done(self) -> bool:
        """Whether the video is complete."""
        return len(self.blocks) == self.request.blocks

    @property
    def frames(self) -> int:
        """Pixel frames of the next block."""
        size = self.request.shape[1]
        return pixel_frames(size, size * len(self.blocks), self.request.temporal)

    def view(self) -> BlockEvidence:
        """What a router may know of the next block before it is drafted."""
        noise = self.request.noise
        return BlockEvidence(
            len(self.blocks),
            self.request.blocks,
            self.frames,
            history=tuple(self.history),
            earlier=self.request.earlier,
            target_seconds=self.target_seconds,
            seed=noise.seeds[0] if noise is not None else 0,
        )

    def append(self, block: Tensor, decision: Decision) -> None:
        """Commit a block."""
        self.blocks.append(block)
        self.history.append(decision)

    def remember(self, pictures: Tensor, memory: Any) -> None:
        """Go on from the pictures ``(1, 3, frames, height, width)`` of a committed block."""
        self.memory = memory
        reach = self.request.scorer.context if self.request.scorer is not None else 0
        if reach:
            frames = as_frames(pictures)
            known = frames if self.shown is None else torch.cat([self.shown, frames])
            self.shown = known[-reach:]


@contextmanager
def naming_block(state: VideoState) -> Iterator[None]:
    """Have memory that runs out while the target works say which block it was.

    Raises:
        torch.OutOfMemoryError: Names the block, and what is committed.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        number = len(state.blocks)
        done = f"blocks 0 to {number - 1} are committed and kept" if number else "none is done"
        raise torch.OutOfMemoryError(
            f"memory ran out while the target made block {number} of {state.request.blocks}; "
            f"{done}. Make a smaller video, fewer blocks, or use a rolling cache: {error}"
        ) from error


def as_frames(pictures: Tensor) -> Tensor:
    """``(1, 3, frames, height, width)`` in [-1, 1] as scorers take it.

    Returns:
        ``(frames, 3, height, width)`` float32 in [0, 1].
    """
    return (pictures[0].transpose(0, 1).float() + 1) / 2
