"""Captions the way LlamaGen's text models saw them in training: web captions, tidied."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import unquote_plus

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _rules(*pairs: tuple[str, str | Callable[[re.Match[str]], str]]) -> tuple[Rule, ...]:
    return tuple((re.compile(pattern), to) for pattern, to in pairs)


_PICTURES = "png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4"
_DOMAINS = "com|co|ru|net|org|edu|gov|it"
_DASHES = (
    "\u002d\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0"
    "\ufe31\ufe32\ufe58\ufe63\uff0d"
)
# Strokes, phonetic extensions, enclosed and compatibility signs, ideographs; kana and Hangul stay.
_IDEOGRAPHS = "\u31c0-\u31ef\u31f0-\u31ff\u3200-\u9fff"


def _address(scheme: str) -> str:
    """The beginning of a link, or a name in a well-known domain with what follows it."""
    named = rf"[a-z0-9.\-]+[.](?:{_DOMAINS})[\w/-]*\b/?(?!@)"
    return rf"\b(?:{scheme}:(?:/{{1,3}}|[a-z0-9%])|{named})"


_BEFORE_MARKUP = _rules(("<person>", "person"), (_address("https?"), ""), (_address("www"), ""))
_SIGNS = _rules(
    (r"@\w+\b", ""),  # nicknames
    (f"[{_IDEOGRAPHS}]+", ""),
    (f"[{_DASHES}]+", "-"),
    ("[`´«»“”¨]", '"'),
    ("[‘’]", "'"),
    ("&quot;?|&amp", ""),  # entities escaped once too often
    (r"\d{1,3}(?:\.\d{1,3}){3}", " "),  # addresses of machines
    (r"\d:\d\d\s+$", ""),  # article ids
    (r"\\n", " "),  # line breaks that were spelt out
    (r"#(?:\d{1,3}|\d{5,})\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"\S+\.(?:{_PICTURES})", ""),  # names of files
    ("[\"']{2,}", '"'),
    (r"\.{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~()\[\]{}|\\/*]+", " "),
    (r"\s+\.\s+", " "),
)
_WORDS = _rules(
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),  # names of goods: jc6640, jc6640vc, 6640vc231
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),
    (r"\b\d+[a-zA-Z]+\d+\b", ""),
    (r"(?:worldwide\s+)?(?:free\s+)?shipping", ""),
    (r"(?:free\s)?download(?:\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b(?:{_PICTURES})(?:\simages?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),
    (r"\b\d+\.?\d*[xх×]\d+\.?\d*\b", ""),  # sizes; the second letter is Cyrillic
    (r"\b\s+:\s+", ": "),
    (r"(\D[,./])\b", r"\1 "),
    (r"\s+", " "),
    (r"^[\"']([\w\W]+)[\"']$", r"\1"),  # quotes around everything
    (r"^['_,\-:;]", ""),
    (r"['_,\-:+]$", ""),
    (r"^\.\S+$", ""),
)
_JOINTS = re.compile("[-_]")
_MOST_JOINTS = 3  # more of them stand for spaces: this-is-a-file-name

_PLAIN = _rules(
    ("[\u2018-\u201b]", "'"),
    ("[\u201c-\u201f]", '"'),
    # Ligatures and letters of full or half width; other compatible forms keep their meaning.
    ("[\ufb00-\ufb06\uff01-\uffef\u3000]", lambda found: unicodedata.normalize("NFKC", found[0])),
    ("[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]", ""),
)


def clean_caption(text: str) -> str:
    """Tidy a prompt as the captions were that the released text models learned from.

    Lower case; links, nicknames, markup, file names, article numbers, sizes in pixels and phrases
    of web shops go; every kind of dash, quote and space becomes the plain one; signs that are no
    punctuation become spaces. As there, everything is done twice, since one removal can uncover
    another.

    The steps are those of the caption cleaner of DeepFloyd's IF, which LlamaGen takes over. One of
    them is approximate: text that was decoded in the wrong character set is not repaired, only
    quotes, ligatures, letter widths and control characters are made plain.

    Args:
        text: A prompt.

    Returns:
        What the text encoder should read; empty where nothing but debris was given.
    """
    return _cleaned(_cleaned(text))


def _cleaned(text: str) -> str:
    text = _applied(_BEFORE_MARKUP, unquote_plus(text).strip().lower())
    text = _applied(_SIGNS, _visible(text))
    if len(_JOINTS.findall(text)) > _MOST_JOINTS:
        text = _JOINTS.sub(" ", text)
    text = unicodedata.normalize("NFC", _applied(_PLAIN, text))
    return _applied(_WORDS, html.unescape(html.unescape(text))).strip()


def _applied(rules: tuple[Rule, ...], text: str) -> str:
    for pattern, to in rules:
        text = pattern.sub(to, text)
    return text


class _Visible(HTMLParser):
    """Collects what a browser would show."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def _visible(text: str) -> str:
    """Text without tags and comments, entities resolved once."""
    parser = _Visible()
    parser.feed(text)
    parser.close()
    return "".join(parser.shown)
