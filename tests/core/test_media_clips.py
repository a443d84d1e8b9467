from __future__ import annotations

import contextlib
import io
import struct

import av
import numpy as np
import pytest

from mmspec.media import MediaError, MediaLimits, clips, read_image, read_media, read_video

WIDTH, HEIGHT = 64, 48


class _Pipe(io.RawIOBase):
    """A stream that cannot seek, as a live recorder writes to."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.data += bytes(data)
        return len(data)


def clip_bytes(
    codec="libx264", container="mp4", count=20, rate=10, gop=12, live=False, size=(WIDTH, HEIGHT)
) -> bytes:
    """A clip whose brightness rises with time, its top left corner white."""
    stream = _Pipe() if live else io.BytesIO()
    with av.open(stream, "w", format=container) as output:
        video = output.add_stream(codec, rate=rate, options={"g": str(gop)})
        video.width, video.height = size
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(count):
            pixels = np.full((size[1], size[0], 3), 200 * index // max(count, 1), np.uint8)
            pixels[:16, :16] = 255
            output.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(video.encode())
    return bytes(stream.data) if live else stream.getvalue()


def audio_bytes() -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as output:
        audio = output.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        output.mux(audio.encode(frame))
        output.mux(audio.encode())
    return stream.getvalue()


def index_first(mp4: bytes) -> bytes:
    """Moves the moov box before mdat, as web servers like it; cutting then costs only frames."""
    boxes, at = {}, 0
    while at < len(mp4):
        size = int.from_bytes(mp4[at : at + 4], "big")
        boxes[mp4[at + 4 : at + 8]] = mp4[at : at + size]
        at += size
    moov = bytearray(boxes[b"moov"])
    table = moov.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", moov, table)
    for entry in range(table + 4, table + 4 + 4 * count, 4):
        struct.pack_into(">I", moov, entry, struct.unpack_from(">I", moov, entry)[0] + len(moov))
    return boxes[b"ftyp"] + bytes(moov) + boxes[b"free"] + boxes[b"mdat"]


def brightness(clip) -> list[int]:
    return [image.getpixel((40, 30))[0] for image in clip.frames]


@pytest.fixture
def save(tmp_path):
    def write(data: bytes, name: str = "clip.mp4"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refusal(*arguments, **options) -> str:
    with pytest.raises(MediaError) as caught:
        read_video(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message
    return message


@pytest.mark.parametrize(
    ("codec", "container"),
    [("libx264", "mp4"), ("mpeg4", "mp4"), ("libvpx", "webm"), ("libvpx-vp9", "webm")],
)
@pytest.mark.parametrize("asked", [1, 4, 8, 20])
def test_frames_are_even_over_the_clip(save, codec, container, asked):
    path = save(clip_bytes(codec, container), f"clip.{container}")
    clip = read_video(path, asked)
    assert (clip.name, clip.path, clip.is_video, clip.note) == (path.name, path, True, "")
    assert len(clip.frames) == len(clip.times) == asked
    assert clip.seconds == pytest.approx(2.0, abs=0.05)
    middles = [(part + 0.5) * 2.0 / asked for part in range(asked)]
    # The frame on screen at the middle of a part began at most one frame (0.1 s) before.
    assert all(-0.01 <= m - t <= 0.11 for m, t in zip(middles, clip.times, strict=True))
    assert np.allclose(brightness(clip), [100 * time for time in clip.times], atol=8)
    assert all(image.mode == "RGB" and image.size == (64, 48) for image in clip.frames)


def test_a_short_clip_gives_each_frame_once(save):
    clip = read_video(save(clip_bytes(count=3)), 8)
    assert len(clip.frames) == 3
    assert clip.times == pytest.approx((0.0, 0.1, 0.2))
    assert clip.note == "8 frames asked, 3 different ones found"


def test_a_clip_of_one_frame(save):
    assert len(read_video(save(clip_bytes(count=1)), 8).frames) == 1


def test_a_live_recording_without_stated_length(save):
    path = save(clip_bytes("libvpx", "webm", live=True), "live.webm")
    with av.open(str(path)) as container:
        assert container.duration is None
    clip = read_video(path, 4)
    assert clip.seconds == pytest.approx(2.0, abs=0.15)
    assert np.allclose(clip.times, [0.2, 0.7, 1.2, 1.7], atol=0.11)


def decoded_count(monkeypatch) -> list[int]:
    counts: list[int] = []
    walk = clips._Reader._walk

    def counted(self):
        for shown in walk(self):
            counts.append(1)
            yield shown

    monkeypatch.setattr(clips._Reader, "_walk", counted)
    return counts


def test_long_gaps_are_skipped_by_key_frames(save, monkeypatch):
    path = save(clip_bytes(count=600, rate=10, gop=10))
    counts = decoded_count(monkeypatch)
    clip = read_video(path, 4)
    assert np.allclose(clip.times, [7.5, 22.5, 37.5, 52.5], atol=0.11)
    assert np.allclose(brightness(clip), [time * 200 / 60 for time in clip.times], atol=8)
    assert len(counts) < 80


def test_decoding_stops_after_the_last_frame_needed(save, monkeypatch):
    path = save(clip_bytes(count=40))
    counts = decoded_count(monkeypatch)
    read_video(path, 1)
    assert len(counts) <= 23


@pytest.mark.parametrize(
    ("matrix", "size", "corner"),
    [
        ((0, 1, -1, 0), (HEIGHT, WIDTH), (HEIGHT - 5, 4)),  # a quarter clockwise
        ((-1, 0, 0, -1), (WIDTH, HEIGHT), (WIDTH - 5, HEIGHT - 5)),  # upside down
        ((0, -1, 1, 0), (HEIGHT, WIDTH), (4, WIDTH - 5)),  # a quarter counter-clockwise
    ],
)
def test_stored_rotation_is_applied(save, matrix, size, corner):
    a, b, c, d = (value << 16 for value in matrix)
    data = bytearray(clip_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    image = read_video(save(bytes(data)), 1).frames[0]
    assert image.size == size
    assert image.getpixel(corner)[0] > 220
    assert image.getpixel((size[0] // 2, size[1] // 2))[0] < 150


def test_read_media_tells_pictures_from_clips(save):
    clip = read_media(save(clip_bytes(), "clip.png"), frames=2)
    assert clip.is_video
    assert len(clip.frames) == 2
    picture = save(b"", "picture.mp4")
    clip.frames[0].save(picture, "PNG")
    assert not read_media(picture).is_video
    assert "it is a picture (PNG)" in refusal(picture)
    with pytest.raises(MediaError, match=r"it is a video \(mp4\)"):
        read_image(save(clip_bytes()))


def test_clips_that_hold_no_frame(save):
    assert "empty (0 bytes)" in refusal(save(b""))
    assert "no video" in refusal(save(audio_bytes(), "sound.mp4"))
    assert "no such file" in refusal("missing.mp4")
    assert "text" in refusal(save(b"just words", "words.mp4"))
    assert "QuickTime" in refusal(save(b"\0\0\0\x14ftypqt  \0\0\0\0"))
    mkv = clip_bytes("libx264", "matroska")
    assert "Matroska" in refusal(save(mkv, "clip.webm"))


@pytest.mark.parametrize(("codec", "container"), [("libx264", "mp4"), ("libvpx", "webm")])
@pytest.mark.parametrize("keep", [40, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("faststart", [False, True])
def test_truncated_clips_are_refused(save, codec, container, keep, faststart):
    data = clip_bytes(codec, container)
    if faststart:
        data = index_first(data) if container == "mp4" else clip_bytes(codec, container, 60)
    path = save(data[: keep if keep > 1 else int(len(data) * keep)], f"cut.{container}")
    assert "cut" in refusal(path)


def test_an_index_before_the_data_and_bytes_behind_it_are_fine(save):
    clip = read_video(save(index_first(clip_bytes()) + b"\0" * 100), 4)
    assert np.allclose(brightness(clip), [100 * time for time in clip.times], atol=8)


def test_random_damage_never_raises_anything_else(save):
    generator = np.random.default_rng(2)
    for codec, container in (("libx264", "mp4"), ("libvpx", "webm")):
        clean = clip_bytes(codec, container)
        for _ in range(40):
            data = bytearray(clean)
            for position in generator.integers(0, len(data), 6):
                data[position] = generator.integers(0, 256)
            with contextlib.suppress(MediaError):
                read_video(save(bytes(data)), 3)


def test_codecs_off_the_list_are_refused(save):
    message = refusal(save(clip_bytes("mjpeg", "mp4")))
    assert "mjpeg" in message
    assert "h264" in message


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (MediaLimits(max_seconds=1), "lasts 2 s"),
        (MediaLimits(max_pixels=1_000), "64 x 48"),
        (MediaLimits(max_side=50), "64 x 48"),
        (MediaLimits(max_clip_pixels=2 * WIDTH * HEIGHT), "fewer frames"),
        (MediaLimits(max_decoded_frames=5), "more than 5 frames"),
        (MediaLimits(max_file_bytes=100), "MiB"),
        (MediaLimits(max_frames=2), "1 to 2"),
    ],
)
def test_each_limit_refuses(save, limits, words):
    assert words in refusal(save(clip_bytes()), 4, limits)


@pytest.mark.parametrize("frames", [0, -1])
def test_a_senseless_number_of_frames(save, frames):
    assert "ask for 1 to" in refusal(save(clip_bytes()), frames)


def test_nothing_is_opened_by_name(tmp_path, monkeypatch):
    """FFmpeg reads other files and the network through names like this; it must not see them."""
    monkeypatch.chdir(tmp_path)
    assert "no such file" in refusal("concat:a.mp4|b.mp4")
    assert "URL" in refusal("http://127.0.0.1:9/clip.mp4")
