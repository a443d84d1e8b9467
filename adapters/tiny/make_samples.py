"""Draw the sample pictures and the clip that the demo captions.

Usage: python -m adapters.tiny.make_samples
All of them are held out: no model was trained on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image

from .world.clips import clip_from_seed
from .world.render import render, render_clip
from .world.scene import scene_from_seed

SIDE = 256
FRAMES = 8
FRAMES_A_SECOND = 4
# File name to seed; three formats, so that the demo shows that they are read alike.
PICTURES = {
    "picture-1.png": 101,
    "picture-2.png": 104,
    "picture-3.png": 108,
    "picture-4.png": 113,
    "picture-5.jpg": 117,
    "picture-6.webp": 121,
}
CLIP = ("clip-1.mp4", 21)


def write_pictures(folder: Path) -> None:
    """Write the sample pictures."""
    for name, seed in PICTURES.items():
        picture = render(scene_from_seed(seed, held_out=True), SIDE)
        picture.save(folder / name, quality=92)


def write_clip(path: Path, frames: Sequence[Image.Image]) -> None:
    """Encode frames as H.264; near-lossless, since the drawings have hard edges."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_A_SECOND, options={"crf": "12"})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())


def main() -> None:
    """Write every sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parent / "samples"
    parser.add_argument("--out", type=Path, default=default, help="folder of the samples")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    write_pictures(folder)
    name, seed = CLIP
    write_clip(folder / name, render_clip(clip_from_seed(seed, held_out=True), FRAMES, SIDE))


if __name__ == "__main__":
    main()
