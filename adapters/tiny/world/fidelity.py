"""Score a picture against its prompt: which of the things asked for it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import permutations

from .parse import Score
from .scene import Thing
from .wishes import ALL_CELLS, Wish, WishedThing, holds

_LOOKS = ("shape", "colour", "size", "texture")
_Assignment = tuple[Thing | None, ...]


def fidelity(wish: Wish, things_seen: Sequence[Thing], background_seen: str | None) -> Score:
    """Compare what a picture shows with what its prompt asks for.

    Asked are each thing's shape, each look and place that the prompt mentions, each relation, the
    number of things, and the background if mentioned. Things seen are assigned to wished ones so
    that most answers are right; a wished thing with none left for it is wrong in all its answers,
    and so is a relation that it takes part in.

    Args:
        wish: What the prompt asks for.
        things_seen: Things that a reader of the picture found, at most nine, in any order.
        background_seen: Background that it found, or None.

    Returns:
        Right and asked answers by name: shape, colour, size, texture, place, relation, count,
        background.
    """
    if len(things_seen) > len(ALL_CELLS):
        raise ValueError(f"at most {len(ALL_CELLS)} things can be seen, got {len(things_seen)}")
    answers = [[_answers(wished, seen) for seen in (*things_seen, None)] for wished in wish.things]
    totals = [[sum(answer.values()) for answer in row] for row in answers]
    best = max(
        _assignments(len(wish.things), len(things_seen)),
        key=lambda picks: (
            sum(row[pick] for row, pick in zip(totals, picks, strict=True))
            + _relations_right(wish, _seen(things_seen, picks))
        ),
    )
    right = Counter({"count": int(len(things_seen) == len(wish.things))})
    for row, pick in zip(answers, best, strict=True):
        right.update(row[pick])
    right["relation"] = _relations_right(wish, _seen(things_seen, best))
    right["background"] = int(wish.background is not None and wish.background == background_seen)
    asked = _asked(wish)
    return Score(right=Counter({name: right[name] for name in asked}), asked=asked)


def _asked(wish: Wish) -> Counter[str]:
    asked = Counter({"count": 1})
    for wished in wish.things:
        asked.update(_questions(wished))
    if wish.relations:
        asked["relation"] = len(wish.relations)
    if wish.background is not None:
        asked["background"] = 1
    return asked


def _questions(wished: WishedThing) -> list[str]:
    """Names of what a prompt says of one thing."""
    names = [name for name in _LOOKS if getattr(wished, name) is not None]
    return [*names, "place"] if wished.cells != ALL_CELLS else names


def _answers(wished: WishedThing, seen: Thing | None) -> dict[str, int]:
    """Return 1 for each question about a wished thing that a thing seen answers right, else 0."""
    names = _questions(wished)
    if seen is None:
        return dict.fromkeys(names, 0)
    right = {name: int(getattr(wished, name) == getattr(seen, name)) for name in _LOOKS}
    right["place"] = int(seen.cell in wished.cells)
    return {name: right[name] for name in names}


def _assignments(wished: int, seen: int) -> Iterator[tuple[int, ...]]:
    """Yield an index of a thing seen for each wished one; -1 stands for none left."""
    missing = max(0, wished - seen)
    return permutations([*range(seen), *[-1] * missing], wished)


def _seen(things: Sequence[Thing], picks: tuple[int, ...]) -> _Assignment:
    return tuple(things[pick] if pick >= 0 else None for pick in picks)


def _relations_right(wish: Wish, picked: _Assignment) -> int:
    right = 0
    for i, side, j in wish.relations:
        first, second = picked[i], picked[j]
        right += first is not None and second is not None and holds(side, first.cell, second.cell)
    return right
