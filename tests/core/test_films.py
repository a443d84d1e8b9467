"""Videos in files, and what became of their blocks as pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from mmspec import films
from mmspec.films import save_mp4
from mmspec.timeline import COLOURS, burn_in, draw_strip


def pictures(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Grey levels that rise from frame to frame."""
    return [np.full((height, width, 3), 20 * index, np.uint8) for index in range(count)]


def blocks(*frames: int) -> list[dict[str, Any]]:
    words = ("forced", "accepted", "regenerated")
    return [
        {"block": i, "decision": words[i % 3], "score": None, "seconds": 0.5, "frames": count}
        for i, count in enumerate(frames)
    ]


@pytest.mark.parametrize("codec", films.CODECS)
def test_frames_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    monkeypatch.setattr(films, "CODECS", {codec: films.CODECS[codec]})
    path = tmp_path / "grey.mp4"
    assert save_mp4(pictures(9), path, 12.5, {"prompt": "grün"}) == codec
    assert [file.name for file in tmp_path.iterdir()] == ["grey.mp4"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (48, 32)
        assert stream.average_rate == 12.5
        assert json.loads(container.metadata["comment"]) == {"prompt": "grün"}
        decoded = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(stream)]
    assert decoded == pytest.approx([20 * index for index in range(9)], abs=3)


def test_odd_sides_lose_a_line_and_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    save_mp4(pictures(2, 33, 49), tmp_path / "odd.mp4", 8)
    with av.open(str(tmp_path / "odd.mp4")) as container:
        assert container.streams.video[0].width == 48
    with pytest.raises(ValueError, match="at least one frame"):
        save_mp4([], tmp_path / "none.mp4", 8)
    assert [file.name for file in tmp_path.iterdir()] == ["odd.mp4"]


def test_a_strip_shows_the_middle_of_each_block_in_its_colour() -> None:
    images = [Image.fromarray(one) for one in pictures(9)]
    strip = np.asarray(draw_strip(images, blocks(3, 4, 2)))
    seen = {tuple(colour) for colour in strip.reshape(-1, 3).tolist()}
    assert set(COLOURS.values()) <= seen
    assert {(20, 20, 20), (100, 100, 100), (160, 160, 160)} <= seen
    assert not {(0, 0, 0), (60, 60, 60), (140, 140, 140)} & seen
    tall = draw_strip(images, blocks(3, 4, 2), columns=1)
    assert tall.height > 2 * strip.shape[0]


def test_marks_on_frames_change_with_the_block() -> None:
    images = [Image.fromarray(one) for one in pictures(5)]
    marked = list(burn_in(images, blocks(2, 3)))
    assert [image.size for image in marked] == [(384, 256)] * 5
    corners = [image.getpixel((0, 0)) for image in marked]
    assert corners == [COLOURS["forced"]] * 2 + [COLOURS["accepted"]] * 3
    assert marked[1].getpixel((200, 200)) == (20, 20, 20)
    assert images[1].size == (48, 32)


def test_timelines_of_other_videos_are_refused() -> None:
    images = [Image.fromarray(one) for one in pictures(5)]
    with pytest.raises(ValueError, match="the blocks have 4 pictures and 5 were given"):
        draw_strip(images, blocks(2, 2))
    with pytest.raises(ValueError, match="the blocks have 4 pictures"):
        list(burn_in(images, blocks(2, 2)))
