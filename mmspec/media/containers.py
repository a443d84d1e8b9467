"""Whether a video file is all there, judged by the sizes its own structure states.

Decoders play what is left of a file that was cut short and stop without a word; half a clip would
then be described as the whole.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

# A fragmented mp4 has one or two boxes a second; a hostile file may have millions.
_MAX_BOXES = 100_000
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"


def missing_bytes(stream: BinaryIO, container: str) -> int:
    """How many bytes an "mp4" or "webm" file promises beyond its end; leaves the stream rewound."""
    total = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    try:
        end = _mp4_end(stream, total) if container == "mp4" else _webm_end(stream)
    except (struct.error, IndexError):  # the file ends inside a header
        end = total + 1
    stream.seek(0)
    return max(end - total, 0)


def _mp4_end(stream: BinaryIO, total: int) -> int:
    """Walks the boxes at the top level; stray bytes behind the last one are tolerated."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > total:
            break
        stream.seek(at)
        size, kind = struct.unpack(">I4s", stream.read(8))
        if size == 1:
            (size,) = struct.unpack(">Q", stream.read(8))
        if size < 8 or not kind.isalnum():  # 0 means up to the end of the file
            break
        at += size
    return at


def _webm_end(stream: BinaryIO) -> int:
    """Where the segment, which holds everything, ends; 0 if a live recorder could not say."""
    header = _read_size(stream, _EBML)
    if header is None:
        return 0
    stream.seek(header, os.SEEK_CUR)
    segment = _read_size(stream, _SEGMENT)
    return 0 if segment is None else stream.tell() + segment


def _read_size(stream: BinaryIO, element: bytes) -> int | None:
    """Reads the size of the element that must come next; None if it is another or unbounded.

    The leading zero bits of the first byte tell how many bytes follow; all ones mean unbounded.
    """
    if stream.read(4) != element:
        return None
    first = stream.read(1)[0]
    length = 9 - first.bit_length()
    rest = stream.read(length - 1)
    value_bits = 7 * length
    value = int.from_bytes(bytes([first]) + rest, "big") & (1 << value_bits) - 1
    return None if value == (1 << value_bits) - 1 else value
