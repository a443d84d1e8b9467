"""Safe reading of pictures and clips from local files: the one way in for every front door.

Files are judged by content, sizes are checked before anything is decoded, and every refusal is a
`MediaError` of one sentence. Nothing here opens a network connection.
"""

from mmspec.media.clips import read_video
from mmspec.media.inputs import collect_inputs, read_media
from mmspec.media.pictures import read_image
from mmspec.media.records import Clip, MediaError, MediaLimits, Picture

__all__ = [
    "Clip",
    "MediaError",
    "MediaLimits",
    "Picture",
    "collect_inputs",
    "read_image",
    "read_media",
    "read_video",
]
