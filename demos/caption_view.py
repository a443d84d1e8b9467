"""The race as HTML: two columns of coloured tokens, their clocks, and what the outputs prove."""

from __future__ import annotations

from demos.caption_race import Board, Lane
from demos.errors import escape
from mmspec.media import Clip, Picture
from mmspec.pipelines.inputs import thumbnails
from mmspec.render import ORIGINS, to_html
from mmspec.report import data_uri

_PICTURE_SIDE, _FRAME_SIDE = 224, 96
_NUMBERS = (
    ("seconds", "seconds", "vision and prefill included"),
    ("rate", "tokens/s", "of the side's own seconds"),
    ("length", "tokens/pass", "acceptance length: the correction or bonus included"),
    ("passes", "passes", "passes of the model, the reading of the prompt included"),
)
_FAIR = (
    "One model runs both sides. They take turns, the one that has used less time goes next, and "
    "each clock runs in its own rounds only. Point at a word to see who wrote it, with the "
    "model's probability of it."
)


def race_html(board: Board) -> str:
    """The whole race as it stands."""
    plain, ours = board.lanes
    columns = _lane("plain", plain, ours.seconds) + _lane(board.begin.method, ours, plain.seconds)
    notes = [text for text in (board.begin.note, *board.notes) if text]
    items = "".join(f"<li>{escape(text)}</li>" for text in notes)
    return (
        f'<section class="mm-race"><div class="mm-badges">{badges_html(board)}</div>'
        f'<div class="mm-lanes">{columns}</div>{_legend()}'
        f"{f'<ul class=mm-notes>{items}</ul>' if items else ''}"
        f'<p class="mm-soft">{_FAIR}</p></section>'
    )


def badges_html(board: Board) -> str:
    """Promise, speed-up and equality."""
    begin = board.begin
    kind, _, meaning = begin.certificate.partition(":")
    marks = [_badge("good" if kind.startswith("exact") else "warn", kind, meaning.strip())]
    if board.speedup is not None:
        marks.append(
            _badge("plain big", f"{board.speedup:.2f}× the speed of plain", "ratio of tokens/s")
        )
    return "".join([*marks, _equality(board)])


def _equality(board: Board) -> str:
    """What the two outputs, compared token by token, show."""
    begin, agreed = board.begin, board.agreed
    about = "ids of both outputs, compared for this page"
    if board.identical is None:
        return ""
    if board.identical:
        return _badge("good", f"identical: all {agreed} tokens", about)
    if begin.greedy:
        return _badge("bad", f"differs from token {agreed + 1} on", about)
    law = "by the same law" if begin.certificate.startswith("exact") else "by another law"
    return _badge("plain", f"sampled: another text {law}", about)


def _badge(kind: str, text: str, about: str = "") -> str:
    return f'<span class="mm-badge {kind}" title="{escape(about)}">{escape(text)}</span>'


def _lane(title: str, lane: Lane, other_seconds: float) -> str:
    values = {
        "seconds": f"{lane.seconds:.2f}",
        "rate": f"{lane.rate:.0f}" if lane.rate >= 10 else f"{lane.rate:.1f}",
        "length": f"{lane.acceptance_length:.2f}" if lane.acceptance_length else "–",
        "passes": f"{lane.passes}",
    }
    numbers = "".join(
        f'<div title="{escape(about)}"><dt>{name}</dt><dd>{values[key]}</dd></div>'
        for key, name, about in _NUMBERS
    )
    state = ' <span class="mm-done">done</span>' if lane.finished else ""
    share = lane.seconds / max(lane.seconds, other_seconds, 1e-9)
    return (
        f'<article class="mm-lane"><h3>{escape(title)}{state}</h3>'
        f'<div class="mm-bar"><i style="width:{100 * share:.1f}%"></i></div>'
        f'<dl class="mm-numbers">{numbers}</dl>'
        f'<p class="mm-text">{to_html(lane.pieces)}</p></article>'
    )


def _legend() -> str:
    marks = "".join(
        f'<span><b class="{name}">{name}</b> {escape(meaning)}</span>'
        for name, (_, meaning) in ORIGINS.items()
        if name != "regenerated"  # texts are never redrawn
    )
    return f'<p class="mm-legend mm-soft">{marks}</p>'


def preview_html(media: Picture | Clip) -> str:
    """What the model will look at: the picture, or the frames taken from a clip."""
    frames = thumbnails(media)
    side = _FRAME_SIDE if media.is_video else _PICTURE_SIDE
    images = "".join(
        f'<img src="{data_uri(frame, side)}" alt="frame {number}">'
        for number, frame in enumerate(frames, 1)
    )
    kind = "strip" if media.is_video else "single"
    note = f'<p class="mm-soft">{escape(media.note)}</p>' if media.note else ""
    return f'<div class="mm-preview {kind}">{images}</div>{note}'
