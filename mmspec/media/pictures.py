"""Pictures from paths, bytes, Pillow images and arrays: upright, RGB, on white."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from mmspec.media.files import open_file, wrong_kind
from mmspec.media.headers import read_header
from mmspec.media.records import MediaError, MediaLimits, Picture

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | np.ndarray[Any, Any]"

_ANIMATED = {"GIF": "GIF", "PNG": "PNG", "WEBP": "WebP"}
_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


def read_image(
    source: ImageSource, limits: MediaLimits | None = None, *, name: str | None = None
) -> Picture:
    """Reads one picture.

    The orientation a camera recorded is applied, transparency is laid on white, and of an animation
    the first frame is used (`Picture.note` says so). The input itself is never changed.

    Args:
        source: A local path; the bytes of a file; a Pillow image (its current frame); or an array
            of shape (height, width) or (height, width, 1 | 3 | 4), uint8 or floating in [0, 1].
        limits: Ceilings on size; the defaults of `MediaLimits` if None.
        name: What to call the picture in messages; the file's name if None.

    Raises:
        MediaError: The content is refused or damaged; the message says why and what to do.
        TypeError: `source` is none of the above.
    """
    limits = limits or MediaLimits()
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        with open_file(path, limits) as stream:
            return _decode(stream, name or path.name, path, limits)
    name = name or "picture"
    if isinstance(source, bytes):
        if len(source) > limits.max_file_bytes:
            raise MediaError.about(
                name, f"it is {len(source):,} bytes", f"give at most {limits.max_file_bytes:,}"
            )
        return _decode(io.BytesIO(source), name, None, limits)
    if isinstance(source, np.ndarray):
        return Picture(name, None, [_to_rgb(_from_array(source, name, limits), name)])
    if isinstance(source, Image.Image):
        return _from_pillow(source, name, limits)
    raise TypeError(
        f"read_image takes a path, bytes, a Pillow image or an array, got {type(source).__name__}"
    )


def _decode(stream: BinaryIO, name: str, path: Path | None, limits: MediaLimits) -> Picture:
    header = read_header(stream)
    if header.kind != "picture":
        raise wrong_kind(name, header, "picture")
    if header.size is None:
        raise _damaged(name, header.format, "its header states no size")
    limits.check_size(name, *header.size)
    try:
        with Image.open(stream, formats=[header.format]) as opened:
            limits.check_size(name, *opened.size)
            animated = header.format in _ANIMATED and getattr(opened, "is_animated", False)
            opened.load()
            image = _to_rgb(opened, name)
    except (MediaError, MemoryError):
        raise
    except Exception as error:  # on hostile bytes decoders raise anything, IndexError included
        raise _damaged(name, header.format, str(error) or type(error).__name__) from error
    note = f"animated {_ANIMATED[header.format]}: first frame used" if animated else ""
    return Picture(name, path, [image], note)


def _from_pillow(source: Image.Image, name: str, limits: MediaLimits) -> Picture:
    limits.check_size(name, *source.size)
    try:
        source.load()  # an image opened lazily may still turn out to be damaged
        image = _to_rgb(source, name)
    except (MediaError, MemoryError):
        raise
    except Exception as error:
        raise _damaged(name, source.format or "Pillow", str(error)) from error
    note = "animated image: current frame used" if getattr(source, "is_animated", False) else ""
    return Picture(name, None, [image], note)


def _from_array(array: np.ndarray[Any, Any], name: str, limits: MediaLimits) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in _CHANNELS:
        raise MediaError.about(
            name,
            f"the array has shape {array.shape}",
            "give (height, width) or (height, width, 1, 3 or 4)",
        )
    limits.check_size(name, array.shape[1], array.shape[0])
    if np.issubdtype(array.dtype, np.floating):
        # Written so that NaN fails too.
        if not (array.min() >= 0 and array.max() <= 1):
            raise MediaError.about(
                name, "its floating values leave [0, 1]", "scale them, or give uint8 in 0..255"
            )
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise MediaError.about(
            name, f"the array has dtype {array.dtype}", "give uint8, or floating in [0, 1]"
        )
    pixels = array[..., 0] if array.ndim == 3 and channels == 1 else array
    return Image.fromarray(np.ascontiguousarray(pixels))


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    image = _upright(image)
    if image.mode.startswith("I;16"):
        # Pillow would clip everything above 255 to white instead of scaling 65,535 to 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise MediaError.about(
            name, f"Pillow mode {image.mode} has no fixed brightness range", "convert it to RGB"
        )
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """A copy, turned as the camera recorded; unreadable metadata is no reason to refuse pixels."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # malformed EXIF raises SyntaxError, struct.error, ValueError and more
        return image.copy()


def _damaged(name: str, kind: str, detail: str) -> MediaError:
    return MediaError.about(
        name,
        f"the {kind} data is damaged or cut short ({detail.strip()})",
        "save, copy or download it again",
    )
