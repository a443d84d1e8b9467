"""How videos in the making are shown: a card a block, a timeline, the numbers at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from demos import markup
from demos.errors import escape
from mmspec.rules.certificate import Certificate
from mmspec.timeline import COLOURS

if TYPE_CHECKING:
    from demos.video_race import Take

MEANINGS = {
    "forced": "the target's, nothing was drafted",
    "accepted": "drafted, kept",
    "regenerated": "drafted, refused, made by the target",
}


def stage(takes: Sequence[Take]) -> str:
    """The blocks of every run so far, then when they were made."""
    rows = "".join(map(_row, takes))
    return f'<div class="mm-films">{rows}{_timeline(takes)}</div>'


def results(takes: Sequence[Take], certificate: Certificate, distance: float | None) -> str:
    """Badges and numbers of complete runs; that of the target alone, if it ran, comes first.

    Args:
        takes: The runs.
        certificate: Of the method.
        distance: Of the latents from those of the target alone, relative; None where it did not
            run.
    """
    kind = "good" if certificate.lossless else "warn"
    badges = [markup.badge(kind, certificate.kind, str(certificate))]
    if distance is not None:
        plain, ours = takes[0].runner.seconds, takes[-1].runner.seconds
        same = distance == 0.0
        said = "identical to the target's video" if same else f"latents {distance:.2f} away"
        about = "root mean square of the difference over that of the target's latents"
        badges.append(markup.badge("good" if same else "plain", said, about))
        badges.append(markup.badge("plain", f"{plain / ours:.2f}× the speed of the target"))
    clock = markup.CLOCK if len(takes) > 1 else ""
    lines = [f"{str(certificate)[:1].upper()}{str(certificate)[1:]}.", clock]
    return f'<div class="mm-badges">{"".join(badges)}</div>{_table(takes)}{markup.remarks(lines)}'


def _row(take: Take) -> str:
    """A run: its blocks side by side."""
    runner, done = take.runner, len(take.film.records)
    state = "done" if runner.finished else f"block {done + 1} of {take.blocks}"
    cards = [_card(*pair) for pair in zip(take.film.timeline, _middles(take), strict=True)]
    cards += ['<figure class="mm-block"><div class="mm-frame"></div></figure>'] * (
        take.blocks - done
    )
    return (
        f'<section class="mm-pic"><header>{escape(runner.title)}<span>{state} · '
        f'{markup.seconds(runner.seconds)} s own time</span></header><div class="mm-blocks">'
        f"{''.join(cards)}</div></section>"
    )


def _card(block: Mapping[str, Any], image: Image.Image) -> str:
    """A block: its middle picture in the colour of what became of it."""
    score = "" if block["score"] is None else f"score {block['score']:.3g}"
    word, fill = escape(block["decision"]), _css(block["decision"])
    about = f"block {block['block']}: {block['reason']}"
    return (
        f'<figure class="mm-block" style="--mm-fill:{fill}" title="{escape(about)}">'
        f'<div class="mm-frame">{markup.picture(image, about)}</div><figcaption><b>{word}</b>'
        f"<small>{markup.seconds(block['seconds'])} s</small><small>{score}</small>"
        "</figcaption></figure>"
    )


def _middles(take: Take) -> list[Image.Image]:
    """The middle picture of every block."""
    found = []
    for pictures in take.film.pictures:
        pixels = pictures[len(pictures) // 2].permute(1, 2, 0).contiguous()
        found.append(Image.fromarray(pixels.numpy()))
    return found


def _timeline(takes: Sequence[Take]) -> str:
    """Bars of all runs on one axis of seconds, a piece a block, with a legend."""
    whole = max(_spent(take) for take in takes)
    bars = "".join(_bar(take, whole) for take in takes)
    marks = "".join(
        f'<span><i style="background:{_css(word)}"></i>{escape(word)}: {escape(about)}</span>'
        for word, about in MEANINGS.items()
    )
    return f'<div class="mm-times">{bars}<div class="mm-marks">{marks}</div></div>'


def _bar(take: Take, whole: float) -> str:
    pieces = "".join(_piece(block, whole) for block in take.film.timeline)
    end = f"{markup.seconds(_spent(take))} s" if take.film.records else ""
    return f"<span>{escape(take.runner.title)}</span><div>{pieces}</div><span>{end}</span>"


def _piece(block: Mapping[str, Any], whole: float) -> str:
    stages = ", ".join(f"{name} {spent:.2f} s" for name, spent in block["stages"].items())
    about = f"block {block['block']}: {block['decision']}; {stages}"
    share = 100 * block["seconds"] / whole
    style = f"width:{share:.2f}%;background:{_css(block['decision'])}"
    return f'<i style="{style}" title="{escape(about)}">{block["block"]}</i>'


def _spent(take: Take) -> float:
    return sum(block["seconds"] for block in take.film.timeline)


def _css(word: str) -> str:
    return f"rgb{COLOURS[word]}"


def _table(takes: Sequence[Take]) -> str:
    films = [take.film for take in takes]
    kept = [sum(record.decision == "accepted" for record in film.records) for film in films]
    rows = {
        "blocks by the target": [f"{take.blocks - n}" for take, n in zip(takes, kept, strict=True)],
        "blocks by the drafter": [f"{n}" for n in kept],
        "evaluations of the target": [
            f"{sum(record.evaluations for record in film.records)}" for film in films
        ],
        "seconds": [markup.seconds(take.runner.seconds) for take in takes],
        "frames a second": [
            f"{sum(record.frames for record in take.film.records) / take.runner.seconds:.1f}"
            for take in takes
        ],
    }
    return markup.table([take.runner.title for take in takes], rows)
