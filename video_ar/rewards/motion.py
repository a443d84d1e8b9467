"""Scores of motion from pixels alone: no weights, no prompt, deterministic.

Rewards of single frames are blind to freezes, flicker and seams between blocks. These scorers are
not: each compares a frame with those right before it, across the seam when they are handed over as
context. All scores are at most 0, and 0 says that nothing is wrong; so does a frame that has too
few frames before it to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from video_ar.checks import check_count, check_number

_GREY_LEVEL = 1 / 255


class _Temporal:
    """What scorers of motion have in common."""

    needs_prompt = False


@dataclass(frozen=True)
class WarpError(_Temporal):
    """Minus what is left of a frame after the frame before was moved onto it, block by block.

    Every tile is matched with the shifts of up to ``radius`` pixels, and the mean absolute
    difference at the best shift counts. Motion up to that speed costs nothing; a cut, a jump at a
    seam or a change of texture does. Frames are first reduced to ``side`` pixels on the short side.

    Attributes:
        radius: Largest shift, in reduced pixels.
        tile: Side of a tile, in reduced pixels.
        side: Short side after the reduction; smaller frames stay as they are.

    Raises:
        ValueError: An option out of range; frames too small for the radius.
    """

    radius: int = 3
    tile: int = 8
    side: int = 64

    name = "warp-error"
    context = 1

    def __post_init__(self) -> None:
        check_count("radius", self.radius)
        check_count("tile", self.tile, 1)
        check_count("side", self.side, 2 * self.radius + 1)

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """``(F,)`` float32, in [-1, 0]."""
        frames = _reduced(frames.float(), self.side)
        height, width = frames.shape[-2:]
        margin = self.radius
        inner = min(height, width) - 2 * margin
        if inner < 1:
            raise ValueError(
                f"frames of {width} x {height} are too small for shifts of {margin} pixels; give a "
                "smaller radius"
            )
        later = frames[1:, :, margin : height - margin, margin : width - margin]
        best = None
        for down in range(2 * margin + 1):
            for right in range(2 * margin + 1):
                earlier = frames[:-1, :, down : height - 2 * margin + down]
                earlier = earlier[..., right : width - 2 * margin + right]
                error = (later - earlier).abs().mean(1, keepdim=True)
                error = F.avg_pool2d(error, min(self.tile, inner))
                best = error if best is None else torch.minimum(best, error)
        assert best is not None
        return _after_first(-best.mean((1, 2, 3)))


@dataclass(frozen=True)
class TemporalSeam(_Temporal):
    """Minus how far the pace of change leaves that of the frames before, as a log ratio.

    The change into a frame is its mean absolute difference from the frame before; it is compared
    with the mean of up to ``window`` changes before that. A cut between blocks is far too much
    change, a freeze far too little. It is blind to where things move: see :class:`WarpError`.

    Attributes:
        window: Changes that make the pace.
        floor: Added to both, so that noise of still pictures does not count.

    Raises:
        ValueError: An option out of range.
    """

    window: int = 4
    floor: float = _GREY_LEVEL

    name = "temporal-seam"

    def __post_init__(self) -> None:
        check_count("window", self.window, 1)
        check_number("floor", self.floor, 1e-6, 1.0)

    @property
    def context(self) -> int:
        """One frame more than changes."""
        return self.window + 1

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """``(F,)`` float32, at most 0."""
        change = _changes(frames)
        if len(change) < 2:
            return change.new_zeros(len(frames))
        padded = F.pad(change[:-1], (self.window - 1, 0)).unfold(0, self.window, 1)
        known = torch.arange(1, len(change), device=change.device).clamp(max=self.window)
        pace = padded.sum(-1) / known
        ratio = ((change[1:] + self.floor) / (pace + self.floor)).log()
        return F.pad(-ratio.abs(), (2, 0))


@dataclass(frozen=True)
class Frozen(_Temporal):
    """-1 for a frame that repeats the one before, 0 for one that differs by ``floor`` or more.

    Attributes:
        floor: Mean absolute difference that counts as moving; a grey level by default.

    Raises:
        ValueError: ``floor`` out of range.
    """

    floor: float = _GREY_LEVEL

    name = "frozen"
    context = 1

    def __post_init__(self) -> None:
        check_number("floor", self.floor, 1e-6, 1.0)

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """``(F,)`` float32, in [-1, 0]."""
        return _after_first((_changes(frames) / self.floor).clamp(max=1) - 1)


@dataclass(frozen=True)
class Flicker(_Temporal):
    """Minus the mean absolute second difference of brightness over a coarse grid.

    Steady brightening costs nothing; light that jumps to and fro does. The grid is coarse so that
    things which move inside a cell hardly count.

    Attributes:
        cells: Rows and columns of the grid.

    Raises:
        ValueError: ``cells`` out of range.
    """

    cells: int = 8

    name = "flicker"
    context = 2

    def __post_init__(self) -> None:
        check_count("cells", self.cells, 1)

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        """``(F,)`` float32, at most 0."""
        light = F.adaptive_avg_pool2d(frames.float().mean(1), self.cells)
        if len(light) < 3:
            return light.new_zeros(len(light))
        bend = light[2:] - 2 * light[1:-1] + light[:-2]
        return F.pad(-bend.abs().mean((1, 2)), (2, 0))


def _changes(frames: Tensor) -> Tensor:
    """``(F - 1,)`` float32: mean absolute differences of neighbours."""
    frames = frames.float()
    return (frames[1:] - frames[:-1]).abs().mean((1, 2, 3))


def _after_first(scores: Tensor) -> Tensor:
    """With a zero for the first frame, which has none before it."""
    return F.pad(scores, (1, 0))


def _reduced(frames: Tensor, side: int) -> Tensor:
    """Areas averaged so that the short side has at most ``side`` pixels."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    if short <= side:
        return frames
    size = (round(height * side / short), round(width * side / short))
    return F.adaptive_avg_pool2d(frames, size)
