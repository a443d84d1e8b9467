"""Writing pictures to files: PNG with the settings in its metadata, whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_SLUG = 40  # most characters that a prompt lends to a file name


def save_png(image: Image.Image, path: Path, settings: Mapping[str, str]) -> None:
    """Write a PNG whose text chunks hold ``settings``.

    The file appears under its name only once it is complete, so that an interruption or a full disk
    never leaves half a picture.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, value in settings.items():
        info.add_text(name, value)  # text beyond Latin-1 becomes an international chunk
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        image.save(part, "PNG", pnginfo=info)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def file_stem(index: int, label: str) -> str:
    """A file name that sorts by index and says what the picture shows, safe on every system."""
    slug = re.sub(r"[^a-z0-9]+", "-", label.lower())[:_SLUG].strip("-")
    return f"{index:04d}-{slug}" if slug else f"{index:04d}"
