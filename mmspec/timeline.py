"""What became of each block of a video, as pictures: a strip, and marks on the frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

# Colours that stay apart for every common kind of colour blindness (Okabe and Ito 2008).
COLOURS: dict[str, tuple[int, int, int]] = {
    "forced": (0, 114, 178),
    "accepted": (0, 158, 115),
    "regenerated": (213, 94, 0),
}
_CARD_SIDE = 192  # pixels that the long side of a picture has in a strip at least
_BURNT_SIDE = 384  # and in a video that is written on
_BORDER, _GAP, _LINE = 6, 10, 18
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def draw_strip(
    images: Sequence[Image.Image], blocks: Sequence[Mapping[str, Any]], columns: int = 8
) -> Image.Image:
    """A card a block: its middle picture with a border, and the word, score and seconds below.

    Args:
        images: All pictures of the video, of one size; not changed.
        blocks: Its timeline, see :func:`mmspec.pipelines.video_result.entry`.
        columns: Most cards in a row.

    Raises:
        ValueError: The blocks have another number of pictures, or there is none.
    """
    _check(images, blocks)
    middles, first = [], 0
    for block in blocks:
        middles.append(images[first + block["frames"] // 2])
        first += block["frames"]
    cards = [_card(image, block) for image, block in zip(middles, blocks, strict=True)]
    width, height = cards[0].size
    across = min(columns, len(cards))
    rows = -(-len(cards) // across)
    size = (across * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP)
    page = Image.new("RGB", size, _PAPER)
    for place, card in enumerate(cards):
        row, column = divmod(place, across)
        page.paste(card, (_GAP + column * (width + _GAP), _GAP + row * (height + _GAP)))
    return page


def burn_in(
    images: Sequence[Image.Image], blocks: Sequence[Mapping[str, Any]]
) -> Iterator[Image.Image]:
    """The pictures with a border and a line of text of their block, enlarged where they are small.

    Args as for :func:`draw_strip`.

    Raises:
        ValueError: As :func:`draw_strip`.
    """
    _check(images, blocks)
    owners = [block for block in blocks for _ in range(block["frames"])]
    for image, block in zip(images, owners, strict=True):
        marked = _enlarged(image, _BURNT_SIDE)
        draw = ImageDraw.Draw(marked)
        colour = COLOURS[block["decision"]]
        draw.rectangle((0, 0, marked.width - 1, marked.height - 1), outline=colour, width=_BORDER)
        draw.rectangle((0, 0, marked.width - 1, _BORDER + _LINE), fill=colour)
        draw.text((_BORDER + 2, 3), " · ".join(_words(block)), fill=_PAPER, font=_font())
        yield marked


def _card(image: Image.Image, block: Mapping[str, Any]) -> Image.Image:
    picture = _enlarged(image, _CARD_SIDE)
    lines = _words(block)
    width, height = picture.width + 2 * _BORDER, picture.height + 2 * _BORDER
    card = Image.new("RGB", (width, height + _LINE * len(lines) + 4), _PAPER)
    colour = COLOURS[block["decision"]]
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, 0, width - 1, height - 1), fill=colour)
    card.paste(picture, (_BORDER, _BORDER))
    for number, line in enumerate(lines):
        ink = _INK if number else colour
        draw.text((_BORDER, height + 4 + number * _LINE), line, fill=ink, font=_font())
    return card


def _words(block: Mapping[str, Any]) -> list[str]:
    """Number and decision, score, seconds."""
    score = block["score"]
    return [
        f"{block['block']} {block['decision']}",
        "no score" if score is None else f"score {score:.3g}",
        f"{block['seconds']:.2f} s",
    ]


def _enlarged(image: Image.Image, least: int) -> Image.Image:
    """A copy, larger by a whole factor where the long side is under ``least`` pixels."""
    factor = max(1, -(-least // max(image.size)))
    size = (image.width * factor, image.height * factor)
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST)


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=13)


def _check(images: Sequence[Image.Image], blocks: Sequence[Mapping[str, Any]]) -> None:
    wanted = sum(block["frames"] for block in blocks)
    if not images or wanted != len(images):
        raise ValueError(
            f"the blocks have {wanted} pictures and {len(images)} were given; a strip needs all "
            "of a video, and at least one"
        )
