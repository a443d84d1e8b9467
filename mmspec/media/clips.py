"""Frames sampled evenly from a video file, decoding no more than needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from mmspec.media.containers import missing_bytes
from mmspec.media.files import open_file, wrong_kind
from mmspec.media.headers import read_header
from mmspec.media.records import CLIP_FORMATS, Clip, MediaError, MediaLimits

if TYPE_CHECKING:
    from PIL import Image

# FFmpeg guesses among hundreds of demuxers and decoders, some of them old; only these are opened.
_DEMUXERS = {"mp4": "mp4", "webm": "matroska"}
_CODECS = frozenset({"av1", "h264", "hevc", "mpeg4", "vp8", "vp9"})
# Below this gap decoding on is cheaper than seeking back to a key frame.
_SEEK_SECONDS = 4.0


class _Shown(NamedTuple):
    seconds: float
    frame: Any  # av.VideoFrame


def read_video(
    path: str | os.PathLike[str], frames: int = 8, limits: MediaLimits | None = None
) -> Clip:
    """Reads frames from an mp4 or webm file, evenly over its length.

    The clip is cut into `frames` equal parts, and the frame on screen in the middle of each is
    taken, once: a clip with fewer frames gives fewer. A rotation stored by the camera is applied.
    Decoding skips long gaps by key frames and stops at the last frame needed.

    Raises:
        MediaError: The file is refused, damaged or holds no frame; the message says what to do.
    """
    limits = limits or MediaLimits()
    file = Path(path)
    if not 1 <= frames <= limits.max_frames:
        raise MediaError.about(
            file.name, f"{frames} frames were asked for", f"ask for 1 to {limits.max_frames}"
        )
    with open_file(file, limits) as stream:
        header = read_header(stream)
        if header.kind != "clip":
            raise wrong_kind(file.name, header, "clip")
        if missing := missing_bytes(stream, header.format):
            raise _damaged(file.name, header.format, f"at least {missing:,} bytes are missing")
        try:
            shots, seconds = _sample(stream, _DEMUXERS[header.format], file.name, frames, limits)
        except (MediaError, MemoryError):
            raise
        except Exception as error:  # FFmpeg's errors have many bases; damaged files add more
            raise _damaged(file.name, header.format, _reason(error)) from error
    if not shots:
        raise MediaError.about(file.name, "it holds no video frame", f"give an {CLIP_FORMATS} clip")
    note = (
        "" if len(shots) == frames else f"{frames} frames asked, {len(shots)} different ones found"
    )
    times = tuple(time for time, _ in shots)
    return Clip(file.name, file, [image for _, image in shots], times, seconds, note)


def _sample(
    stream: BinaryIO, demuxer: str, name: str, count: int, limits: MediaLimits
) -> tuple[list[tuple[float, Image.Image]], float]:
    import av  # FFmpeg takes a moment to load; pictures do without

    # An open file object, not a path: FFmpeg would read "concat:..." or "http:..." in a path.
    with av.open(stream, mode="r", format=demuxer) as container:
        video = _video_stream(container, name, limits)
        seconds = _duration(container, video)
        if seconds > limits.max_seconds:
            raise MediaError.about(
                name, f"it lasts {seconds:,.0f} s", f"cut it to at most {limits.max_seconds:,.0f} s"
            )
        start = float((video.start_time or 0) * video.time_base)
        targets = [start + (part + 0.5) * seconds / count for part in range(count)]
        reader = _Reader(container, video, name, limits)
        return [(shot.seconds, _upright(shot.frame)) for shot in reader.at(targets)], seconds


def _video_stream(container: Any, name: str, limits: MediaLimits) -> Any:
    """The first video stream, prepared for decoding, if its codec and size are acceptable."""
    if not container.streams.video:
        raise MediaError.about(name, "it holds no video", f"give an {CLIP_FORMATS} clip")
    video = container.streams.video[0]
    context = video.codec_context
    codec = context.codec.canonical_name if context is not None else "unknown"
    if codec not in _CODECS:
        raise MediaError.about(
            name, f"its video codec is {codec}", f"re-encode it with one of {sorted(_CODECS)}"
        )
    limits.check_size(name, video.width, video.height)
    # The stream may change size half-way: the decoder itself must know the ceiling. Its own
    # rounding up to whole blocks counts, hence the margin.
    context.options = {"max_pixels": str(2 * limits.max_pixels)}
    context.thread_type = "AUTO"
    return video


def _duration(container: Any, video: Any) -> float:
    """Length in seconds, from the header or, for a live recording without one, from its packets."""
    if video.duration:
        return float(video.duration * video.time_base)
    if container.duration:
        return float(container.duration / 1e6)  # FFmpeg counts containers in microseconds
    stamps = [
        packet.pts + (packet.duration or 0)
        for packet in container.demux(video)
        if packet.pts is not None
    ]
    container.seek(0)
    return float((max(stamps) - min(stamps)) * video.time_base) if stamps else 0.0


class _Reader:
    """Walks one opened stream forwards, within the limits."""

    def __init__(self, container: Any, video: Any, name: str, limits: MediaLimits) -> None:
        self._container = container
        self._video = video
        self._name = name
        self._limits = limits
        self._decoded = 0
        self._kept_pixels = 0

    def at(self, targets: list[float]) -> Iterator[_Shown]:
        """Yields the frame on screen at each of the ascending times, each frame once."""
        walk = self._walk()
        ahead = next(walk, None)
        on_screen = last = None
        for target in targets:
            if ahead is not None and target - ahead.seconds > _SEEK_SECONDS:
                self._container.seek(int(target / self._video.time_base), stream=self._video)
                walk = self._walk()
                ahead = next(walk, None)
            while ahead is not None and ahead.seconds <= target:
                on_screen, ahead = ahead, next(walk, None)
            chosen = on_screen or ahead
            if chosen is not None and chosen is not last:
                self._count_pixels(chosen.frame)
                last = chosen
                yield chosen

    def _walk(self) -> Iterator[_Shown]:
        rate = float(self._video.average_rate or 25)
        for frame in self._container.decode(self._video):
            if self._decoded >= self._limits.max_decoded_frames:
                raise MediaError.about(
                    self._name,
                    f"more than {self._decoded:,} frames were decoded without reaching the end",
                    "re-encode it",
                )
            seconds = frame.time if frame.time is not None else self._decoded / rate
            self._decoded += 1
            yield _Shown(float(seconds), frame)

    def _count_pixels(self, frame: Any) -> None:
        self._limits.check_size(self._name, frame.width, frame.height)
        self._kept_pixels += frame.width * frame.height
        if self._kept_pixels > self._limits.max_clip_pixels:
            raise MediaError.about(
                self._name,
                f"its frames of {frame.width} x {frame.height} pixels need more than the "
                f"{self._limits.max_clip_pixels:,} pixels a clip may hold",
                "ask for fewer frames or scale it down",
            )


def _upright(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    # Counter-clockwise in Pillow and in PyAV alike; -0.0 and 360 mean upright.
    degrees = round(frame.rotation) % 360
    return image.rotate(degrees, expand=True) if degrees else image


def _damaged(name: str, container: str, reason: str) -> MediaError:
    return MediaError.about(
        name,
        f"the {container} data is damaged or cut short ({reason})",
        "save, copy or download it again",
    )


def _reason(error: Exception) -> str:
    """FFmpeg's words without the file name and number it adds."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
