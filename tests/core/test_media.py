from __future__ import annotations

import contextlib
import io
import os
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmspec.media import MediaError, MediaLimits, collect_inputs, read_image, read_media
from mmspec.media.headers import read_header

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png_header(width: int, height: int) -> bytes:
    """A valid start of a PNG that claims a size, without the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def refusal(call, *arguments, **options) -> str:
    """The message of the refusal, checked to be one sentence on one line."""
    with pytest.raises(MediaError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message  # what was found; the fix
    return message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_reads_each_format_by_content_whatever_the_name(tmp_path, kind):
    path = tmp_path / "picture.data"
    path.write_bytes(encoded(Image.new("RGB", (40, 30), RED), kind))
    picture = read_image(path)
    assert (picture.name, picture.path, picture.is_video, picture.note) == (
        "picture.data", path, False, ""
    )  # fmt: skip
    assert picture.frames == [picture.image]
    assert (picture.image.mode, picture.image.size) == ("RGB", (40, 30))
    assert np.abs(np.subtract(picture.image.getpixel((20, 15)), RED)).max() <= 3


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0" + b"\0" * 8}),
        ("GIF", {}),
    ],
)
def test_sizes_come_from_the_header(kind, options):
    header = read_header(io.BytesIO(encoded(noise(37, 23), kind, **options)))
    assert (header.kind, header.format, header.size) == ("picture", kind, (37, 23))


def test_size_of_a_jpeg_behind_a_large_segment():
    icc = os.urandom(100_000)
    data = encoded(noise(37, 23), "JPEG", icc_profile=icc)
    assert data.index(icc[:1000]) < 5_000
    assert read_header(io.BytesIO(data)).size == (37, 23)


@pytest.mark.parametrize("start", [b"\xff\xd8\xff", b"\xff\xd8\xff\xff\xff"])
@pytest.mark.parametrize("filler", [b"\xff", b"\0", b"\xff\xd0"])
def test_a_header_that_never_ends_is_given_up(start, filler):
    data = start + filler * 2_000_000
    assert "states no size" in refusal(read_image, data)
    gif = encoded(Image.new("L", (4, 4)), "GIF")[:13].replace(b"GIF87a", b"GIF89a")
    assert "GIF" in refusal(read_image, gif + b"!\xfe" + b"\x01a" * 2_000_000)


def test_a_huge_png_is_refused_without_decoding_or_warning(tmp_path, monkeypatch):
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(30_000, 30_000))
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("the decoder was reached"))
    before = Image.MAX_IMAGE_PIXELS
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(read_image, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "30,000 x 30,000" in message
    assert "huge.png" in message
    assert "scale it" in message
    assert peak < 1_000_000
    assert before == Image.MAX_IMAGE_PIXELS


def test_between_our_limit_and_pillows_nothing_warns(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "10,000 x 9,500" in refusal(read_image, png_header(10_000, 9_500))
        assert "20,000 x 10" in refusal(read_image, png_header(20_000, 10))


def test_a_gif_frame_larger_than_its_screen_counts():
    data = bytearray(encoded(Image.new("RGB", (8, 8), RED), "GIF"))
    at = data.index(b",", 13 + 3 * (2 << (data[10] & 7)))
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    assert "60,000 x 60,000" in refusal(read_image, bytes(data))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_used(tmp_path, kind):
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "lime", "blue")]
    path = tmp_path / "moving"
    path.write_bytes(
        encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    )
    picture = read_image(path)
    assert "animated" in picture.note
    assert "first frame used" in picture.note
    red, green, blue = picture.image.getpixel((8, 8))
    assert red > 240
    assert max(green, blue) < 16


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(kind):
    image = Image.new("RGB", (40, 20), "white")
    image.paste(RED, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    picture = read_image(encoded(image, kind, exif=exif))
    assert picture.image.size == (20, 40)
    assert picture.image.getpixel((10, 5))[1] < 40
    assert picture.image.getpixel((10, 35))[1] > 215


def test_unreadable_exif_does_not_cost_the_picture():
    data = encoded(noise(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_image(data).image.size == (64, 48)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_laid_on_white(mode):
    image = Image.new(mode, (4, 4))
    image.putalpha(0)
    assert image.mode == mode
    assert read_image(image).image.getpixel((1, 1)) == WHITE
    half = read_image(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)))).image.getpixel((0, 0))
    assert 125 <= half[0] <= 129


def test_palette_transparency_is_laid_on_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert read_image(encoded(image, transparency=0)).image.getpixel((0, 0)) == WHITE


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 0x4000, 0x8000, 0xFFFF]], dtype=np.uint16)
    image = read_image(encoded(Image.fromarray(values))).image
    assert [image.getpixel((x, 0))[0] for x in range(4)] == [0, 64, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_other_modes_become_rgb(mode):
    assert read_image(Image.new(mode, (3, 2))).image.mode == "RGB"


def test_modes_without_a_brightness_range_are_refused():
    assert "mode F" in refusal(read_image, Image.new("F", (3, 2)))


def test_a_pillow_image_is_not_changed():
    source = Image.new("RGB", (4, 4), RED)
    picture = read_image(source, name="mine")
    picture.image.putpixel((0, 0), (1, 2, 3))
    assert source.getpixel((0, 0)) == RED
    assert (picture.name, picture.path) == ("mine", None)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_arrays(shape, dtype):
    array = np.full(shape, 255 if dtype == np.uint8 else 1.0, dtype=dtype)
    image = read_image(array).image
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (7, 5), WHITE)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2, 2), np.uint8), "shape (2, 2, 2)"),
        (np.zeros(4, np.uint8), "shape (4,)"),
        (np.zeros((0, 4, 3), np.uint8), "4 x 0"),
        (np.zeros((2, 2, 3), np.int64), "dtype int64"),
        (np.full((2, 2, 3), 255.0), "leave [0, 1]"),
        (np.full((2, 2, 3), np.nan), "leave [0, 1]"),
    ],
)
def test_arrays_that_cannot_be_pictures(array, words):
    assert words in refusal(read_image, array)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.9])
def test_truncated_pictures_are_refused(tmp_path, kind, keep):
    data = encoded(noise(), kind)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * keep)])
    message = refusal(read_image, path)
    assert "damaged or cut short" in message
    assert "cut.img" in message
    assert "again" in message
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_random_damage_never_raises_anything_else():
    generator = np.random.default_rng(1)
    for kind in ("PNG", "JPEG", "WEBP", "GIF"):
        clean = encoded(noise(24, 24), kind)
        for _ in range(60):
            data = bytearray(clean)
            for position in generator.integers(0, len(data), 4):
                data[position] = generator.integers(0, 256)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(MediaError):
                    read_image(bytes(data), MediaLimits(max_pixels=10**6))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a picture at all", "text"),
        ("naïve – text".encode() * 20, "text"),
        (b"%PDF-1.7", "PDF"),
        (b"BM" + b"\0" * 60, "BMP"),
        (b"II*\0" + b"\0" * 60, "TIFF"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\x01\x02\x03" * 16, "unknown kind"),
    ],
)
def test_other_content_named_png(tmp_path, content, words):
    path = tmp_path / "fake.png"
    path.write_bytes(content)
    for read in (read_image, read_media):
        message = refusal(read, path)
        assert words in message
        assert "PNG, JPEG, WebP or GIF" in message


def test_files_that_cannot_be_opened(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    assert "no such file" in refusal(read_image, path)
    assert "folder" in refusal(read_image, tmp_path)
    assert "URL" in refusal(read_image, "https://example.com/a.png")
    assert "no such file" in refusal(read_image, "nul\0byte.png")
    path.write_bytes(b"")
    assert "empty" in refusal(read_image, path)
    path.write_bytes(encoded(noise()))
    assert "MiB" in refusal(read_image, path, MediaLimits(max_file_bytes=100))
    assert "bytes" in refusal(read_image, path.read_bytes(), MediaLimits(max_file_bytes=100))
    # Not chmod: the administrator may read everything.
    monkeypatch.setattr(Path, "open", lambda *a, **k: (_ for _ in ()).throw(PermissionError()))
    assert "permission" in refusal(read_image, path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe" in refusal(read_image, tmp_path / "pipe.png")


def test_another_type_is_a_programming_error():
    with pytest.raises(TypeError, match="got int"):
        read_image(3)


def test_limits_are_checked():
    with pytest.raises(ValueError, match="max_frames must be positive"):
        MediaLimits(max_frames=0)
    with pytest.raises(ValueError, match="89,478,485"):
        MediaLimits(max_pixels=10**9)
    assert "4 x 4" in refusal(read_image, Image.new("RGB", (4, 4)), MediaLimits(max_pixels=15))


def test_collect_inputs_takes_files_and_folders_in_order(tmp_path):
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "content-only", ".hidden.png", "below/c.png"):
        (folder / name).write_bytes(encoded(noise()))
    (folder / "broken.webp").write_text("kept, so that it is reported")
    (folder / "notes.txt").write_text("skipped")
    single = tmp_path / "z.gif"
    single.write_bytes(encoded(noise(), "GIF"))
    found = collect_inputs([str(single), folder])
    assert [path.name for path in found] == [
        "z.gif", "a.JPG", "b.png", "broken.webp", "content-only"
    ]  # fmt: skip


def test_collect_inputs_refuses_what_holds_nothing(tmp_path):
    assert "no input" in refusal(collect_inputs, [])
    (tmp_path / "notes.txt").write_text("text")
    assert "none of the 1 entries" in refusal(collect_inputs, [tmp_path])
    assert "no such file" in refusal(collect_inputs, [tmp_path / "missing"])
