"""From what a user typed to files, and from a file to a picture or clip."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from mmspec.media.clips import read_video
from mmspec.media.files import open_file, stat_input, wrong_kind
from mmspec.media.headers import read_header
from mmspec.media.pictures import read_image
from mmspec.media.records import (
    CLIP_FORMATS,
    PICTURE_FORMATS,
    Clip,
    MediaError,
    MediaLimits,
    Picture,
)

_SUFFIXES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".m4v", ".webm"})


def read_media(
    path: str | os.PathLike[str], frames: int = 8, limits: MediaLimits | None = None
) -> Picture | Clip:
    """Reads a picture or a clip, whichever the content of the file is.

    Args:
        path: A local file.
        frames: How many frames to take if it is a clip.
        limits: Ceilings on size; the defaults of `MediaLimits` if None.

    Raises:
        MediaError: As `read_image` and `read_video`.
    """
    limits = limits or MediaLimits()
    file = Path(path)
    with open_file(file, limits) as stream:
        header = read_header(stream)
    if header.kind == "picture":
        return read_image(file, limits)
    if header.kind == "clip":
        return read_video(file, frames, limits)
    raise wrong_kind(file.name, header, "any")


def collect_inputs(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Lists the files behind paths to files and folders, in the order given.

    A named file is taken as it is. A folder stands for the pictures and clips directly in it,
    sorted by name: those named like one, so that a damaged file is reported rather than skipped,
    and those that are one by content. Hidden files and sub-folders are left out.

    Raises:
        MediaError: A path does not exist, a folder has no picture or clip, or nothing was given.
    """
    files: list[Path] = []
    for given in paths:
        path = Path(given)
        if stat.S_ISDIR(stat_input(path).st_mode):
            files.extend(_in_folder(path))
        else:
            files.append(path)
    if not files:
        raise MediaError("no input was given; name at least one picture, clip or folder")
    return files


def _in_folder(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise MediaError.about(
            folder.name, f"the folder cannot be listed ({error.strerror})", "check its permissions"
        ) from error
    found = [path for path in entries if not path.name.startswith(".") and _is_media(path)]
    if not found:
        raise MediaError.about(
            folder.name or str(folder),
            f"none of the {len(entries)} entries of this folder is a picture or clip",
            f"put {PICTURE_FORMATS}, {CLIP_FORMATS} files directly in it",
        )
    return found


def _is_media(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return read_header(stream).kind != "other"
    except OSError:
        return False  # unreadable and not named like a picture: none of our business
