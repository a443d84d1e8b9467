"""Writing videos to files: MP4 with the settings in its metadata, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# In the order of preference, with options that keep edges; every build of FFmpeg has the last.
CODECS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "16", "preset": "medium"},
    "mpeg4": {"qmin": "1", "qmax": "4"},
}


def save_mp4(
    frames: Iterable[NDArray[np.uint8]],
    path: Path,
    fps: float,
    settings: Mapping[str, str] | None = None,
) -> str:
    """Write an MP4 whose comment holds ``settings`` as JSON.

    The file appears under its name only once it is complete, so that an interruption or a full disk
    never leaves half a video.

    Args:
        frames: Pictures ``(height, width, 3)``, all of one size; a side that is odd loses its last
            row or column, as colours are stored for squares of two pixels.
        path: The file.
        fps: Pictures a second.
        settings: What made the video.

    Returns:
        The codec: H.264 where this build of FFmpeg can write it, else MPEG-4 part 2.

    Raises:
        OSError: It cannot be written; nothing is left behind.
        ValueError: There is no frame.
    """
    import av  # FFmpeg takes a moment to load

    codec = next(name for name in CODECS if name in av.codecs_available)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with av.open(str(part), "w", format="mp4") as container:
            container.metadata["comment"] = json.dumps(dict(settings or {}), ensure_ascii=False)
            _encode(container, codec, frames, fps)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return codec


def _encode(container: Any, codec: str, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    """Write all frames into an open container."""
    import av

    stream = None
    for pixels in frames:
        height, width = (side // 2 * 2 for side in pixels.shape[:2])
        if stream is None:
            rate = Fraction(fps).limit_denominator(1000)
            stream = container.add_stream(codec, rate=rate, options=CODECS[codec])
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(pixels[:height, :width].copy(), format="rgb24")
        container.mux(stream.encode(frame))
    if stream is None:
        raise ValueError("a video needs at least one frame; none was given")
    container.mux(stream.encode(None))
