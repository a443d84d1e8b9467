"""What a video call may be told; the command line takes its defaults from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from mmspec.pipelines.options import keywords

if TYPE_CHECKING:
    from mmspec.pipelines.video_result import VideoOutput

MAX_VIDEOS = 1_000  # of one prompt
MAX_BLOCKS = 1_000
MAX_SIDE = 8_192
MAX_FPS = 1_000.0
OUTPUT_TYPES = ("pil", "np", "pt", "latent")


@dataclass(frozen=True)
class VideoOptions:
    """How to make videos. None takes the model's own default.

    The models are distilled: there are no guidance and no number of steps to choose.

    Attributes:
        num_frames: Pictures of a video; a whole number of blocks, whose first one has fewer.
        blocks: Blocks of a video, instead of ``num_frames``.
        height: Of a picture, in pixels.
        width: Of a picture, in pixels.
        fps: Pictures a second, for files.
        num_videos_per_prompt: Videos of each prompt.
        seed: Video ``i`` of the call draws from seed ``seed + i``.
        generator: A ``torch.Generator``, or a list of one a video, to draw the seeds from when no
            seed is given.
        output_type: ``"pil"`` (a list of Pillow images a video), ``"np"`` (array ``(videos, frames,
            height, width, 3)``), ``"pt"`` (tensor ``(videos, frames, 3, height, width)``), the last
            two floating in ``[0, 1]``, or ``"latent"`` (tensor ``(videos, channels, latent frames,
            height, width)``), for which nothing is decoded that no router asks for.
        score: Have the small world's judge look at the videos; embedded models only.
        callback_on_step_end: Called as ``callback(pipe, step, timestep, kwargs)`` after every
            block; see :class:`mmspec.pipelines.video_run.Reel`.
        on_video: Called with every finished :class:`VideoOutput`, and with the unfinished one of a
            call that failed or was interrupted.
        progress: Show a progress bar over the blocks on stderr.
    """

    num_frames: int | None = None
    blocks: int | None = None
    height: int | None = None
    width: int | None = None
    fps: float | None = None
    num_videos_per_prompt: int = 1
    seed: int | None = None
    generator: Any = None
    output_type: str = "pil"
    score: bool = False
    callback_on_step_end: Callable[[Any, int, int, dict[str, Any]], Any] | None = None
    on_video: Callable[[VideoOutput], Any] | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        if self.num_frames is not None and self.blocks is not None:
            raise ValueError("give num_frames or blocks, not both: one tells the other")
        ranges = (
            ("num_videos_per_prompt", MAX_VIDEOS),
            ("blocks", MAX_BLOCKS),
            ("num_frames", MAX_BLOCKS * 100),
            ("height", MAX_SIDE),
            ("width", MAX_SIDE),
        )
        for name, most in ranges:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and 1 <= value <= most):
                raise ValueError(f"{name} must be between 1 and {most:,}, got {value!r}")
        if self.fps is not None and not (isfinite(self.fps) and 0 < self.fps <= MAX_FPS):
            raise ValueError(f"fps must be above 0 and at most {MAX_FPS:g}, got {self.fps}")
        if self.output_type not in OUTPUT_TYPES:
            allowed = ", ".join(OUTPUT_TYPES)
            raise ValueError(f"output_type must be one of {allowed}, got {self.output_type!r}")
        if self.score and self.output_type == "latent":
            raise ValueError("score looks at pictures; ask for an output_type that has them")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> VideoOptions:
        """Options from keyword arguments; a misspelt one is an error that lists the known ones."""
        return keywords(cls, given)
