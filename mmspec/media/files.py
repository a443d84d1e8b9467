"""Opening a local file with every reason for refusal in words."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from mmspec.media.headers import Header
from mmspec.media.records import CLIP_FORMATS, PICTURE_FORMATS, MediaError, MediaLimits

_URL = re.compile(r"^(https?|ftp|file|data|s3)[:]", re.IGNORECASE)


def stat_input(path: Path) -> os.stat_result:
    """Describes an existing file or folder, or raises `MediaError`."""
    try:
        return path.stat()
    except PermissionError as error:
        raise _no_permission(path) from error
    except (OSError, ValueError) as error:
        if _URL.match(str(path)):
            found, fix = "it is a URL", "download it first: only local files are read"
        else:
            found, fix = "there is no such file", f"check the path '{path}'"
        raise MediaError.about(path.name or str(path), found, fix) from error


def open_file(path: Path, limits: MediaLimits) -> BinaryIO:
    """Opens a regular, readable, non-empty file of acceptable size, or raises `MediaError`."""
    info = stat_input(path)
    if stat.S_ISDIR(info.st_mode):
        raise MediaError.about(path.name or str(path), "it is a folder", "give the files in it")
    if not stat.S_ISREG(info.st_mode):
        # Opening a pipe or a device could block for ever.
        raise MediaError.about(path.name, "it is a pipe or a device", "give a regular file")
    if info.st_size == 0:
        raise MediaError.about(
            path.name, "it is empty (0 bytes)", "save, copy or download it again"
        )
    if info.st_size > limits.max_file_bytes:
        raise MediaError.about(
            path.name,
            f"it is {info.st_size / 2**20:,.1f} MiB large",
            f"make it smaller than {limits.max_file_bytes / 2**20:,.1f} MiB",
        )
    try:
        return path.open("rb")
    except PermissionError as error:
        raise _no_permission(path) from error
    except OSError as error:
        raise MediaError.about(
            path.name, f"opening it failed ({error})", "check the disk"
        ) from error


def wrong_kind(name: str, header: Header, wanted: str) -> MediaError:
    """The error for content that is readable by another function, or by none."""
    if header.kind == "clip":
        found = f"it is a video ({header.format})"
    elif header.kind == "picture":
        found = f"it is a picture ({header.format})"
    else:
        found = f"its content is {header.format}, whatever its name says"
    formats = {"picture": PICTURE_FORMATS, "clip": CLIP_FORMATS}.get(
        wanted, f"{PICTURE_FORMATS}, {CLIP_FORMATS}"
    )
    return MediaError.about(name, found, f"convert it to {formats}")


def _no_permission(path: Path) -> MediaError:
    return MediaError.about(
        path.name or str(path), "permission was denied", "make it readable for this user"
    )
