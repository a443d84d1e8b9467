"""Pictures of a block that may not stay, and their scores: made when asked for, then kept."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from video_ar.rewards.protocol import score_frames
from video_ar.state import VideoState, as_frames
from video_ar.timing import timed


class BlockDecoder(Protocol):
    """Turns latents into pictures block by block; holds no state of any request."""

    def decode(self, latents: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        """Pictures of the next block.

        Args:
            latents: ``(batch, channels, frames, height, width)``.
            memory: Of the blocks before, never changed; None at the start.

        Returns:
            ``(batch, 3, pixel frames, height, width)`` in [-1, 1], and the memory to go on from.
        """
        ...


class Preview:
    """A block that follows the committed ones.

    Decoding leaves the state alone: the memory that it would go on from is kept here.

    Attributes:
        seconds: Of decoding and scoring, as far as not yet put down for a block.

    Args:
        decoder: The video's.
        state: Read only.
        block: ``(1, channels, frames, height, width)``.
    """

    def __init__(self, decoder: BlockDecoder, state: VideoState, block: Tensor) -> None:
        self._decoder, self._state, self._block = decoder, state, block
        self._before = state.shown
        self._decoded: tuple[Tensor, Any] | None = None
        self._scores: dict[int, Tensor] = {}
        self.seconds: dict[str, float] = {}

    @property
    def seen(self) -> bool:
        """Whether it has been decoded."""
        return self._decoded is not None

    def decoded(self) -> tuple[Tensor, Any]:
        """Pictures ``(1, 3, frames, height, width)`` in [-1, 1], and the memory after them.

        Raises:
            ValueError: The decoder gives another number of pictures than the block has.
        """
        if self._decoded is None:
            state = self._state
            with timed(self.seconds, "decode", state.device):
                self._decoded = self._decoder.decode(self._block, state.memory)
            if (given := self._decoded[0].shape[2]) != state.frames:
                raise ValueError(
                    f"the decoder gave {given} pictures for block {len(state.blocks)}, which has "
                    f"{state.frames}; the request's temporal={state.request.temporal} is not the "
                    "decoder's"
                )
        return self._decoded

    def scores(self, frames: tuple[int, ...]) -> Tensor:
        """Scores ``(len(frames),)`` of pictures of the block; each is computed once."""
        state, scorer = self._state, self._state.request.scorer
        if scorer is None:
            raise ValueError("the router asks for scores and the rule was given no scorer")
        if new := [frame for frame in frames if frame not in self._scores]:
            pictures = as_frames(self.decoded()[0])
            with timed(self.seconds, "score", state.device):
                found = score_frames(scorer, pictures, state.request.prompt, self._before, new)
            self._scores.update(zip(new, found, strict=True))
        return torch.stack([self._scores[frame] for frame in frames])

    def worst(self) -> float:
        """The score of its worst picture; not a number where that of any picture is not."""
        frames = range(self.decoded()[0].shape[2])
        return float(self.scores(tuple(frames)).min())

    def let_go(self) -> None:
        """Keep the pictures alone: the block is committed and the decoder's memory is elsewhere."""
        if self._decoded is not None:
            self._decoded = self._decoded[0], None
