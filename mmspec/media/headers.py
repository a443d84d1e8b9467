"""What a file is, judged by its first bytes: the name of a file proves nothing.

The size of a picture is read here, before any decoder sees it, because some decoders reserve the
whole canvas as soon as they open a file.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal

_HEAD_BYTES = 64
# Enough for megabytes of metadata before the pixels, and a bound on the time a hostile file costs.
_MAX_BLOCKS = 100_000
# Start-of-frame markers of JPEG: C4, C8 and CC in the same range mean something else.
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})

# ISO media files that are no mp4 videos, by the first four letters of their major brand.
_OTHER_BRANDS = {
    b"avif": "an AVIF picture",
    b"avis": "an AVIF picture",
    b"heic": "a HEIC picture",
    b"heix": "a HEIC picture",
    b"mif1": "a HEIF picture",
    b"msf1": "a HEIF picture",
    b"crx ": "a camera raw file",
    b"M4A ": "an audio file",
    b"M4B ": "an audio file",
    b"qt  ": "a QuickTime video",
}
_OTHER_MAGIC = (
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"ID3", "an audio file"),
    (b"OggS", "an Ogg file"),
)


@dataclass(frozen=True)
class Header:
    """What the first bytes say.

    Attributes:
        kind: A picture or clip on the allow-list, or anything else.
        format: Pillow's name of a picture format, "mp4" or "webm"; for anything else, words for
            what was found ("a TIFF picture").
        size: Width and height of a picture; None when the header is damaged, and for clips.
    """

    kind: Literal["picture", "clip", "other"]
    format: str
    size: tuple[int, int] | None = None


def read_header(stream: BinaryIO) -> Header:
    """Names the content of a seekable stream and leaves it rewound."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    header = _from_head(head)
    if header.format in ("JPEG", "GIF"):
        try:
            size = _jpeg_size(stream) if header.format == "JPEG" else _gif_size(stream)
        except (struct.error, IndexError):
            size = None
        header = Header(header.kind, header.format, size)
    stream.seek(0)
    return header


def _from_head(head: bytes) -> Header:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Header("picture", "PNG", _png_size(head))
    if head.startswith(b"\xff\xd8\xff"):
        return Header("picture", "JPEG")
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return Header("picture", "GIF")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Header("picture", "WEBP", _webp_size(head))
    if head[4:8] == b"ftyp":
        other = _OTHER_BRANDS.get(head[8:12])
        return Header("other", other) if other else Header("clip", "mp4")
    if head.startswith(b"\x1aE\xdf\xa3"):
        return Header("clip", "webm") if b"webm" in head else Header("other", "a Matroska video")
    return Header("other", _describe(head))


def _describe(head: bytes) -> str:
    for magic, words in _OTHER_MAGIC:
        if head.startswith(magic):
            return words
    if not head:
        return "nothing (0 bytes)"
    if b"\0" in head:
        return "data of an unknown kind"
    try:
        # The last bytes may be half a character.
        head[:-4].decode("utf-8") if len(head) == _HEAD_BYTES else head.decode("utf-8")
    except UnicodeDecodeError:
        return "data of an unknown kind"
    return "text"


def _png_size(head: bytes) -> tuple[int, int] | None:
    if head[12:16] != b"IHDR" or len(head) < 24:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def _webp_size(head: bytes) -> tuple[int, int] | None:
    chunk, body = head[12:16], head[20:30]
    if len(body) < 10:
        return None
    if chunk == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(stream: BinaryIO) -> tuple[int, int] | None:
    """Walks the segments up to the one that states the size; cameras put megabytes before it."""
    stream.seek(2)
    for _ in range(_MAX_BLOCKS):
        if stream.read(1) != b"\xff":  # stray bytes between segments are tolerated by decoders
            continue
        marker = stream.read(1)[0]
        if marker in _JPEG_SIZE_MARKERS:
            _, _, height, width = struct.unpack(">HBHH", stream.read(7))
            return width, height
        if marker in (0xD9, 0xDA):  # the pixels begin or the file ends: no size before them
            return None
        if marker == 0xFF:  # padding: this byte may begin the next marker
            stream.seek(-1, os.SEEK_CUR)
        elif marker not in _JPEG_BARE_MARKERS:
            (length,) = struct.unpack(">H", stream.read(2))
            stream.seek(max(length - 2, 0), os.SEEK_CUR)
    return None


def _gif_size(stream: BinaryIO) -> tuple[int, int] | None:
    """The screen, enlarged if the first frame reaches beyond it, as decoders do."""
    stream.seek(6)
    screen_width, screen_height, flags = struct.unpack("<HHBxx", stream.read(7))
    if flags & 0x80:
        stream.seek(3 << (flags & 7) + 1, os.SEEK_CUR)
    in_extension = False
    for _ in range(_MAX_BLOCKS):
        byte = stream.read(1)[0]
        if in_extension:  # a chain of blocks, each with its length in front, closed by 0
            in_extension = byte > 0
            stream.seek(byte, os.SEEK_CUR)
        elif byte == ord("!"):
            in_extension = True
            stream.seek(1, os.SEEK_CUR)
        elif byte == ord(","):
            left, top, width, height = struct.unpack("<HHHH", stream.read(8))
            return max(screen_width, left + width), max(screen_height, top + height)
        else:
            return None
    return None
