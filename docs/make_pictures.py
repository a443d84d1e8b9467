"""Draws the pictures of the README with the embedded models: `make pictures`."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import mmspec
from mmspec.heatmap import COLOURS, MEANINGS, draw_heatmap
from mmspec.render import Piece, pieces

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "adapters" / "tiny" / "samples"
SIDE, GAP, INK = 192, 12, (40, 44, 52)
SHOWN = ("picture-1.png", "picture-4.png")
PROMPTS = (
    "a large red circle above a small blue square",
    "two stars on a mint background",
    "a striped green triangle in the upper left corner",
    "a large dotted orange diamond",
)
FONT, SMALL = ImageFont.load_default(17), ImageFont.load_default(13)


def captions() -> Image.Image:
    """Sample pictures beside their captions, every word in the colour of who wrote it."""
    caption = mmspec.pipeline("caption", model="tiny", method="eagle", pacer="fixed")
    page = Image.new("RGB", (840, len(SHOWN) * (SIDE + GAP) + 30), "white")
    draw = ImageDraw.Draw(page)
    for row, name in enumerate(SHOWN):
        top = row * (SIDE + GAP)
        result = caption(SAMPLES / name)
        picture = Image.open(SAMPLES / name).convert("RGB")
        page.paste(picture.resize((SIDE, SIDE), Image.Resampling.NEAREST), (0, top))
        units = result.trace.units[0]
        bottom = _write(draw, pieces(units, caption.target.decode), SIDE + 2 * GAP, top + 4)
        passes = len({unit.round for unit in units})
        said = f"{len(units)} tokens in {passes} passes of the model"
        draw.text((SIDE + 2 * GAP, bottom + 8), said, fill=(110, 110, 110), font=SMALL)
    _legend(draw, page.height - 22)
    return page


def drawings() -> Image.Image:
    """Pictures drawn from prompts, and below each who wrote which cell."""
    paint = mmspec.pipeline("image", model="tiny", method="scd")
    result = paint(list(PROMPTS), guidance_scale=2.0, seed=3)
    page = Image.new("RGB", (len(PROMPTS) * (SIDE + GAP), 2 * (SIDE + GAP) + 66), "white")
    draw = ImageDraw.Draw(page)
    for column, prompt in enumerate(PROMPTS):
        left = column * (SIDE + GAP)
        _wrapped(draw, prompt, left)
        drawn = result.images[column]
        origins = [record.origin for record in result.records(column)]
        who = draw_heatmap(drawn, origins, result.grid, legend=False)
        for row, picture in enumerate((drawn, who)):
            small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
            page.paste(small, (left, 40 + row * (SIDE + GAP)))
    _legend(draw, page.height - 22)
    return page


def _write(draw: ImageDraw.ImageDraw, words: list[Piece], left: int, top: int) -> int:
    """Coloured words from ``(left, top)``, wrapped; returns where they end."""
    x = left
    for piece in words:
        width = draw.textlength(piece.text, font=FONT)
        if x + width > 830:
            x, top = left, top + 25
        text = piece.text.lstrip() if x == left else piece.text
        colour = COLOURS[piece.origin]
        start = x + draw.textlength(text[: len(text) - len(text.lstrip())], font=FONT)
        x += draw.textlength(text, font=FONT)
        if colour is not None and text.strip():
            draw.rectangle((start, top + 20, x, top + 22), fill=colour)
        draw.text((x - draw.textlength(text, font=FONT), top), text, fill=INK, font=FONT)
    return top + 25


def _wrapped(draw: ImageDraw.ImageDraw, text: str, left: int) -> None:
    """A prompt in two lines above its picture."""
    words, lines = text.split(), [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=SMALL) > SIDE:
            lines.append(word)
        else:
            lines[-1] = longer
    for number, line in enumerate(lines):
        draw.text((left, 2 + 17 * number), line, fill=INK, font=SMALL)


def _legend(draw: ImageDraw.ImageDraw, top: int) -> None:
    left = 0.0
    for origin in ("accepted", "corrected", "bonus"):
        draw.rectangle((left, top + 2, left + 11, top + 13), fill=COLOURS[origin])
        draw.text((left + 17, top), MEANINGS[origin], fill=INK, font=SMALL)
        left += 40 + draw.textlength(MEANINGS[origin], font=SMALL)


if __name__ == "__main__":
    for name, picture in (("captions.png", captions()), ("drawings.png", drawings())):
        picture.quantize(128).save(HERE / name, optimize=True)
