"""Who wrote each token, as coloured text for terminals and for web pages.

Model text is untrusted: control characters never reach a terminal, and everything that enters a
page is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmspec.trace import UnitRecord

Decode = Callable[[list[int]], str]

# Origin -> (SGR codes of a terminal, what it means). Bold and underline carry the difference where
# colours cannot be told apart.
ORIGINS: dict[str, tuple[str, str]] = {
    "accepted": ("32", "drafted and accepted"),
    "corrected": ("1;33", "draft refused, corrected by the target"),
    "bonus": ("4;36", "added by the target after a fully accepted draft"),
    "regenerated": ("35", "drawn anew by the target in its place"),
    "target": ("", "written by the target without a draft"),
}
_RESET = "\x1b[0m"


@dataclass(frozen=True)
class Piece:
    """The text one token adds, and who wrote it."""

    text: str
    origin: str = "target"
    probability: float | None = 1.0
    round: int = 0


class Detokenizer:
    """Turns tokens into text piece by piece, holding back what a later token may still change.

    Only a short window is decoded each time, so the cost per token does not grow with the text. A
    piece is held back while it ends in a broken character (a letter spread over several tokens).

    Args:
        decode: Token ids to text, special tokens left out.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._start = 0  # first token of the window; gives the window's spacing its context
        self._done = 0  # tokens whose text has been handed out

    def push(self, token: int) -> str:
        """The text that ``token`` makes final; empty while it is held back."""
        self._ids.append(token)
        before = self._decode(self._ids[self._start : self._done])
        text = self._decode(self._ids[self._start :])
        if text.endswith("�") or not text.startswith(before):
            return ""
        fresh = text[len(before) :]
        if fresh:
            self._start, self._done = self._done, len(self._ids)
        return fresh

    def rest(self) -> str:
        """What was still held back, once no more tokens come."""
        before = self._decode(self._ids[self._start : self._done])
        text = self._decode(self._ids[self._start :])
        self._start = self._done = len(self._ids)
        return text[len(before) :] if text.startswith(before) else text


def pieces(units: Sequence[UnitRecord], decode: Decode) -> list[Piece]:
    """One piece a token, in order; their texts joined are the whole text."""
    words = Detokenizer(decode)
    made = [Piece(words.push(u.unit), u.origin, u.probability, u.round) for u in units]
    held = words.rest()
    if held and made:
        made.append(Piece(held, made[-1].origin, made[-1].probability, made[-1].round))
    return made


def to_ansi(made: Iterable[Piece], color: bool = True) -> str:
    """Coloured text for a terminal; plain text without ``color``."""
    return "".join(ansi_piece(piece, color) for piece in made)


def ansi_piece(piece: Piece, color: bool = True) -> str:
    """One token's text for a terminal."""
    text, codes = printable(piece.text), ORIGINS[piece.origin][0]
    if not (color and codes and text.strip()):
        return text
    return f"\x1b[{codes}m{text}{_RESET}"


def ansi_legend() -> str:
    """One line that explains the colours."""
    marks = [f"\x1b[{codes}m{name}{_RESET}" for name, (codes, _) in ORIGINS.items() if codes]
    return f"{' '.join(marks)} target (no draft)"


def to_html(made: Iterable[Piece]) -> str:
    """Escaped spans, one a token, with probability and round as a tooltip."""
    return "".join(_span(piece) for piece in made)


def _span(piece: Piece) -> str:
    word = piece.text.lstrip()
    if not word:
        return html.escape(piece.text)
    gap = piece.text[: len(piece.text) - len(word)]  # outside: only the word is coloured
    chance = "" if piece.probability is None else f"p = {piece.probability:.3f}, "
    about = f"{piece.origin}, {chance}round {piece.round}"
    return f'{gap}<span class="{piece.origin}" title="{about}">{html.escape(word)}</span>'


def html_legend() -> str:
    """The legend of :func:`to_html`."""
    marks = (
        f'<span class="muted"><b class="{name}">{name}</b> {html.escape(meaning)}</span>'
        for name, (_, meaning) in ORIGINS.items()
    )
    return f'<p class="legend">{" ".join(marks)}</p>'


def printable(text: str) -> str:
    """Text without the control characters that could drive a terminal; line breaks stay."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable())
