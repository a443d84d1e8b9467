"""From whatever a caller has (paths, pictures, arrays, frames) to pictures and clips."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmspec.media import Clip, MediaError, MediaLimits, Picture, collect_inputs, read_image
from mmspec.media import read_media as read_file

THUMBNAIL_SIDE = 256
_PATHS = (str, os.PathLike)
_MEDIA = (Image.Image, np.ndarray, bytes)


@dataclass(frozen=True)
class Source:
    """One input, not read yet.

    Attributes:
        name: What to call it.
        value: Path, picture, array, bytes or list of frames.
        missing: Why it cannot be used, where that is already known.
    """

    name: str
    value: Any
    missing: str = ""


def list_sources(inputs: Any, on_error: str = "raise") -> tuple[list[Source], bool]:
    """Takes inputs apart.

    Args:
        inputs: A path, picture, array (a 4-D one is a clip) or bytes; a folder; or a list of those,
            in which an inner list is the frames of one clip.
        on_error: With ``"skip"`` a path that does not exist is kept, with the reason.

    Returns:
        The sources in order, and whether a single input was given.

    Raises:
        MediaError: Nothing to caption, or a missing path.
        TypeError: Something that is none of the above.
    """
    single = isinstance(inputs, (*_PATHS, *_MEDIA))
    given = [inputs] if single else inputs
    if not isinstance(given, Sequence) or not len(given):
        raise MediaError("no input was given; name at least one picture, clip or folder")
    sources: list[Source] = []
    for value in given:
        if isinstance(value, str | os.PathLike):
            sources += _files(value, on_error)
        elif isinstance(value, (list, tuple, *_MEDIA)):
            sources.append(Source(f"input {len(sources)}", value))
        else:
            raise TypeError(
                f"cannot caption a {type(value).__name__}; give paths, Pillow images, arrays, "
                "bytes, or lists of frames"
            )
    return sources, single and not (isinstance(inputs, _PATHS) and Path(inputs).is_dir())


def _files(path: str | os.PathLike[str], on_error: str) -> list[Source]:
    try:
        return [Source(str(file), file) for file in collect_inputs([path])]
    except MediaError as error:
        if on_error == "raise":
            raise
        return [Source(str(path), path, missing=str(error))]


def open_source(source: Source, frames: int, limits: MediaLimits | None) -> Picture | Clip:
    """Reads one input.

    Raises:
        MediaError: It is refused or damaged; the message says why and what to do.
    """
    value = source.value
    if source.missing:
        raise MediaError(source.missing)
    if isinstance(value, str | os.PathLike):
        return read_file(value, frames, limits)
    if isinstance(value, np.ndarray) and value.ndim == 4:
        value = list(value)
    if isinstance(value, list | tuple):
        return _clip(source.name, value, frames, limits)
    return read_image(value, limits, name=source.name)


def _clip(name: str, given: Sequence[Any], frames: int, limits: MediaLimits | None) -> Clip:
    """A clip from frames in memory, thinned out evenly."""
    if not given:
        raise MediaError(f"cannot read '{name}': its list of frames is empty; give at least one")
    count = min(frames, len(given))
    chosen = [given[(2 * index + 1) * len(given) // (2 * count)] for index in range(count)]
    images = [read_image(frame, limits, name=name).image for frame in chosen]
    return Clip(name, None, images, note=f"{count} of {len(given)} frames used")


def thumbnails(media: Picture | Clip) -> list[Image.Image]:
    """Small copies for a report."""
    copies = [frame.copy() for frame in media.frames[:12]]
    for copy in copies:
        copy.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return copies
