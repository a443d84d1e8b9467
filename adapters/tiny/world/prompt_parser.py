"""Read prompts strictly: phrases such as "two red squares and a green circle on mint"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn

from .prompt_words import (
    CELLS_OF_PLACE,
    MAX_PROMPT_WORDS,
    MAX_WISHED,
    NUMBERS,
    PLURALS,
    PROMPT_WORDS,
    RELATIONS,
    SHARED_PLACES,
    SYNONYMS,
    normalise,
)
from .vocabulary import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES
from .wishes import ALL_CELLS, Relation, Wish, WishedThing

EXAMPLES = (
    "a large red circle above a small blue square",
    "two red squares and a green star in the upper left corner on a mint background",
)
_KNOWN = frozenset(PROMPT_WORDS)
_SINGULARS = {plural: shape for shape, plural in PLURALS.items()}
_LOOKS = {
    **dict.fromkeys(COLOURS, "colour"),
    **dict.fromkeys(SIZES, "size"),
    **dict.fromkeys(TEXTURES, "texture"),
}
_SIDES = {phrase: side for side, phrases in RELATIONS.items() for phrase in phrases}
_NUMBERS_REFUSED = frozenset(
    {"zero", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"}
)


def parse_prompt(text: str) -> Wish:
    """Read what a prompt asks for.

    A relation joins the phrases on its two sides, and each thing of a phrase that has several: in
    "two stars above a circle" both stars are above. A place belongs to the phrase in front of it;
    for several things, "at the top" and the like mean the whole row or column.

    Args:
        text: A prompt; case, punctuation and a missing "a" do not matter.

    Returns:
        The wish, its things in the order of the prompt.

    Raises:
        ValueError: If the prompt is empty or too long, has an unknown word, words in an order
            outside the grammar or more than four things, or contradicts itself.
    """
    tokens = normalise(text)
    if not tokens:
        raise ValueError(f"the prompt is empty; {_examples()}")
    if len(tokens) > MAX_PROMPT_WORDS:
        raise ValueError(
            f"the prompt has {len(tokens)} words and commas, at most {MAX_PROMPT_WORDS} are allowed"
        )
    for token in tokens:
        if token not in _KNOWN:
            raise ValueError(_unknown(token))
    return _Reader(tokens).read()


class _Reader:
    """One pass over the tokens of a prompt."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.things: list[WishedThing] = []
        self.relations: list[Relation] = []

    def read(self) -> Wish:
        background = None
        phrase = self._phrase()
        while self.position < len(self.tokens):
            if side := self._take(_SIDES):
                following = self._phrase()
                self.relations += [(i, _SIDES[side], j) for i in phrase for j in following]
                phrase = following
            elif self._take(("and", ",")):
                phrase = self._phrase()
            else:
                background = self._background()
                break
        if self.position < len(self.tokens):
            self._fail("nothing can follow the background")
        if len(self.things) > MAX_WISHED:
            raise ValueError(
                f"the prompt asks for {len(self.things)} things, a picture has at most {MAX_WISHED}"
            )
        return Wish(tuple(self.things), tuple(self.relations), background)

    def _phrase(self) -> range:
        """Read one phrase; return the indices of its things."""
        start = self.position
        word = self._take(("a", *NUMBERS))
        count = NUMBERS.index(word) + 1 if word in NUMBERS else 1
        looks: dict[str, str] = {}
        while look := self._take(_LOOKS):
            if _LOOKS[look] in looks:
                self.position -= 1
                self._fail(f"a thing has one {_LOOKS[look]}")
            looks[_LOOKS[look]] = look
        shape = self._shape(count, start)
        cells = self._place(count)
        first = len(self.things)
        self.things += [WishedThing(shape, cells=cells, **looks)] * count
        return range(first, len(self.things))

    def _shape(self, count: int, start: int) -> str:
        word = self._take((*SHAPES, *_SINGULARS))
        if word is None:
            self._fail(self._missing_shape(), start)
        shape = _SINGULARS.get(word, word)
        if count == 1 and word != shape:
            self._fail(f"say how many, such as 'two {word}', or 'a {shape}'", start)
        if count > 1 and word == shape:
            self._fail(f"more than one {shape} are {PLURALS[shape]!r}", start)
        return shape

    def _missing_shape(self) -> str:
        here = self.tokens[self.position] if self.position < len(self.tokens) else None
        if here in BACKGROUNDS:
            return f"{here!r} is a background; colours of things are: {', '.join(COLOURS)}"
        return f"a shape is missing here, one of: {', '.join(SHAPES)}"

    def _place(self, count: int) -> frozenset[int]:
        start = self.position
        name = self._take(CELLS_OF_PLACE)
        if name is None or self._next_is("of"):
            # "on the left of" opens a relation.
            self.position = start
            return ALL_CELLS
        if count == 1:
            return CELLS_OF_PLACE[name]
        if name not in SHARED_PLACES:
            self._fail(f"a place holds one thing, {NUMBERS[count - 1]} are asked for", start)
        return SHARED_PLACES[name]

    def _background(self) -> str:
        start = self.position
        if not self._take(("on",)):
            self._fail("expected 'and', a comma, a relation, a place or a background", start)
        self._take(("a",))
        tone = self._take(BACKGROUNDS)
        if tone is None:
            self._fail(f"a background is one of: {', '.join(BACKGROUNDS)}", start)
        self._take(("background",))
        return tone

    def _next_is(self, word: str) -> bool:
        return self.tokens[self.position : self.position + 1] == [word]

    def _take(self, phrases: Iterable[str]) -> str | None:
        """Move past the longest of some phrases that comes next, and return it."""
        rest = " ".join(self.tokens[self.position :]) + " "
        found = [phrase for phrase in phrases if rest.startswith(phrase + " ")]
        if not found:
            return None
        phrase = max(found, key=len)
        self.position += len(phrase.split())
        return phrase

    def _fail(self, reason: str, start: int | None = None) -> NoReturn:
        part = " ".join(self.tokens[self.position if start is None else start :])
        where = f"not understood: {part!r}" if part else "the prompt stops too early"
        raise ValueError(f"{where}; {reason}; {_examples()}")


def _unknown(word: str) -> str:
    if word in _NUMBERS_REFUSED or word.isdecimal():
        return f"{word!r} is not a number of things; a picture has {NUMBERS[0]} to {NUMBERS[-1]}"
    # Words as short as "in" are near to everything.
    known = [name for name in (*PROMPT_WORDS, *SYNONYMS) if len(name) > 2]
    nearest = difflib.get_close_matches(word[:40], known, n=3, cutoff=0.3)
    return (
        f"unknown word {word[:40]!r}; nearest words: {', '.join(nearest) or 'none'}; "
        f"shapes: {', '.join(SHAPES)}; colours: {', '.join(COLOURS)}; sizes: {', '.join(SIZES)}; "
        f"textures: {', '.join(TEXTURES)}; backgrounds: {', '.join(BACKGROUNDS)}"
    )


def _examples() -> str:
    return "examples: " + " | ".join(repr(example) for example in EXAMPLES)
