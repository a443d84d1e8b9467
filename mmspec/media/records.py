"""What reading a picture or a clip returns, what it may cost, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from PIL import Image

# Pillow warns above this size; staying below keeps our limit the only one that ever speaks.
PILLOW_WARNS_ABOVE = 89_478_485

PICTURE_FORMATS = "PNG, JPEG, WebP or GIF"
CLIP_FORMATS = "mp4 or webm"


class MediaError(ValueError):
    """An input that cannot be read: one sentence naming it, what was found and the fix."""

    @classmethod
    def about(cls, name: str, found: str, fix: str) -> MediaError:
        """Words the sentence the same way everywhere."""
        return cls(f"cannot read '{name}': {found}; {fix}")


@dataclass(frozen=True)
class MediaLimits:
    """Ceilings on one input, each checked before the memory or time it protects is spent.

    Attributes:
        max_pixels: Width times height of a picture or a frame. Models look at about one
            megapixel; 64 million admits every camera, and costs 192 MB as RGB.
        max_side: Longest edge. A strip of 1 x 64,000,000 pixels passes `max_pixels` and still
            breaks resizing.
        max_file_bytes: Size on disk.
        max_frames: Frames that may be asked of one clip.
        max_seconds: Length of a clip.
        max_clip_pixels: Pixels of all frames kept from one clip together (2**28 costs 805 MB).
        max_decoded_frames: Frames decoded to find those asked for; stops a file whose timestamps
            never advance.
    """

    max_pixels: int = 64_000_000
    max_side: int = 16_384
    max_file_bytes: int = 512 * 2**20
    max_frames: int = 256
    max_seconds: float = 1_200.0
    max_clip_pixels: int = 2**28
    max_decoded_frames: int = 72_000

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not value > 0:
                raise ValueError(f"MediaLimits.{limit.name} must be positive, got {value}")
        if self.max_pixels > PILLOW_WARNS_ABOVE:
            raise ValueError(
                f"MediaLimits.max_pixels may be at most {PILLOW_WARNS_ABOVE:,}, where Pillow's own "
                f"guard begins, got {self.max_pixels:,}"
            )

    def check_size(self, name: str, width: int, height: int) -> None:
        """Raises `MediaError` unless a picture or frame of this size may be decoded."""
        if width < 1 or height < 1:
            raise MediaError.about(
                name, f"its size is {width} x {height} pixels", "give a picture with content"
            )
        if width * height > self.max_pixels or max(width, height) > self.max_side:
            raise MediaError.about(
                name,
                f"it is {width:,} x {height:,} pixels",
                f"scale it to at most {self.max_side:,} a side and {self.max_pixels:,} in all",
            )


@dataclass(frozen=True)
class Picture:
    """One picture, upright, RGB, without transparency.

    Attributes:
        name: What to call it in messages and tables: the file's name, or what the caller said.
        path: Where it was read from; None for bytes, arrays and Pillow images.
        frames: The picture, in a list of one so that pictures and clips are used alike.
        note: What the reader should know ("animated GIF: first frame used"); empty if nothing.
    """

    name: str
    path: Path | None
    frames: list[Image.Image]
    note: str = ""
    is_video: ClassVar[bool] = False

    @property
    def image(self) -> Image.Image:
        """The picture itself."""
        return self.frames[0]


@dataclass(frozen=True)
class Clip:
    """Frames taken evenly from a video, in order of time, upright, RGB.

    Attributes:
        name: The file's name.
        path: Where it was read from.
        frames: At most as many as asked for; fewer if the clip has fewer distinct frames.
        times: When each frame is on screen, in seconds.
        seconds: Length of the whole clip.
        note: What the reader should know; empty if nothing.
    """

    name: str
    path: Path | None
    frames: list[Image.Image]
    times: tuple[float, ...] = field(default=())
    seconds: float = 0.0
    note: str = ""
    is_video: ClassVar[bool] = True
