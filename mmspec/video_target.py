"""What the video pipeline asks of a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class VideoDefaults:
    """What a model makes where the call does not say; those of Wan 2.1 and Self-Forcing.

    Attributes:
        blocks: Blocks of a video.
        height: Of a picture, in pixels.
        width: Of a picture, in pixels.
        fps: Pictures a second.
        draft_steps: Steps of a block where the model drafts for another; None for all.
    """

    blocks: int = 7
    height: int = 480
    width: int = 832
    fps: float = 16.0
    draft_steps: int | None = None


class VideoTarget(Protocol):
    """A target whose units are blocks of a video.

    Every commit of a block has a record of it as its unit, and latents and pictures in ``made``,
    see :mod:`video_ar.reporting`.

    Attributes:
        units: ``blocks``.
        name: What to call the model.
        defaults: What it makes where nothing is said.
    """

    units: str
    name: str
    defaults: VideoDefaults

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Number format of its weights."""
        ...

    def blocks_of(self, num_frames: int) -> int:
        """Blocks of a video of so many pictures.

        Raises:
            ValueError: Blocks do not divide them; names the nearest numbers that they do.
        """
        ...

    def frames_of(self, blocks: int) -> int:
        """Pictures of a video of so many blocks."""
        ...

    def request(self, prompt: str, blocks: int, height: int, width: int, **rest: Any) -> Any:
        """One video to make, see :class:`mmspec.roles.Request`.

        It also has ``brief(n)``, the same with ``n`` blocks at most, for a warm-up. ``rest`` may
        hold ``decode`` (whether pictures are wanted) and ``earlier`` (scores of blocks made
        before, for routers that adapt to them).

        Raises:
            ValueError: Something the model does not take.
        """
        ...
