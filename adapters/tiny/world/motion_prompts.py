"""Prompts of films: phrases such as "a red circle moves to the right", written and read."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .films import MAX_MOVERS, Film
from .prompt_parser import parse_prompt
from .prompt_words import MAX_PROMPT_WORDS, PLACES, PROMPT_WORDS, normalise
from .scene import Thing
from .vocabulary import MOTIONS
from .wishes import Wish, WishedThing

# Every way to say a motion; the first is said most often.
MOTION_PHRASES: dict[str, tuple[str, ...]] = {
    "still": ("stays still", "stays"),
    "right": ("moves to the right", "moves right"),
    "left": ("moves to the left", "moves left"),
    "up": ("moves up",),
    "down": ("moves down",),
    "bounces": ("bounces", "bounces up and down"),
}
MOTION_WORDS = ("moves", "bounces", "stays", "still", "up", "down")
MOTION_EXAMPLES = (
    "a red circle moves to the right",
    "a large blue square at the top bounces and a green triangle stays still on mint",
)
_MOTION_OF = {phrase: motion for motion, names in MOTION_PHRASES.items() for phrase in names}
_VERBS = frozenset({"moves", "bounces", "stays"})
# "bounces up and down" would be cut at its "and".
_ONE_WORD = {"bounces up and down": "bounces"}
_KNOWN = frozenset({*PROMPT_WORDS, *MOTION_WORDS})
_SAY_SIZE, _SAY_PLACE, _SAY_BACKGROUND, _SAY_COLOUR = 0.5, 0.6, 0.5, 0.95
_SAY_STILL = 0.7


@dataclass(frozen=True, slots=True)
class MotionWish:
    """What a prompt asks of a film.

    Attributes:
        wish: Its things where they start, in the order of the prompt, and the background.
        motions: What each thing does; "still" where the prompt does not say.
    """

    wish: Wish
    motions: tuple[str, ...]


def parse_motion_prompt(text: str) -> MotionWish:
    """Read what a prompt asks of a film.

    Each phrase is one thing with looks and a place, as in prompts of pictures, and what it does;
    phrases are joined by "and" or commas, and the background comes last.

    Args:
        text: A prompt; case, punctuation and a missing "a" do not matter.

    Raises:
        ValueError: The prompt is empty or too long, has unknown words, more than three things,
            textures, relations or counted things, or says something that nothing does.
    """
    tokens = normalise(text)
    if not tokens:
        raise ValueError(f"the prompt is empty; {_examples()}")
    if len(tokens) > MAX_PROMPT_WORDS:
        raise ValueError(f"the prompt has {len(tokens)} words, at most {MAX_PROMPT_WORDS} are read")
    line = " ".join(tokens)
    for long, short in _ONE_WORD.items():
        line = line.replace(long, short)
    if unknown := [word for word in line.split() if word not in _KNOWN]:
        raise ValueError(
            f"unknown word {unknown[0][:40]!r}; motions: {', '.join(_MOTION_OF)}; {_examples()}"
        )
    heads, motions = [], []
    for clause in line.replace(" , ", " and ").split(" and "):
        head, motion = _split(clause)
        heads.append(head)
        motions.append(motion)
    wish = parse_prompt(" and ".join(heads))
    _check(wish, len(heads))
    return MotionWish(wish, tuple(motions))


def write_motion_prompt(film: Film, rng: random.Random) -> str:
    """Write a prompt, short enough to be read, that is true of a film and names all its things."""
    while True:
        text = _draft(film, rng)
        if len(normalise(text)) <= MAX_PROMPT_WORDS:
            return text


def _draft(film: Film, rng: random.Random) -> str:
    """Write a prompt of any length."""
    order = list(zip(film.scene.things, film.motions, strict=True))
    rng.shuffle(order)
    bare, spoken = rng.random() < 0.05, rng.random()
    phrases = [_phrase(thing, motion, bare, spoken, rng) for thing, motion in order]
    text = ", ".join(phrases[:-1]) + " and " * (len(phrases) > 1) + phrases[-1]
    if rng.random() < _SAY_BACKGROUND:
        tone = film.scene.background
        text += rng.choice((f" on a {tone} background", f" on {tone}"))
    return text


def fulfils_motion(asked: MotionWish, film: Film) -> bool:
    """Whether a film shows what a prompt asks for, thing by thing in some order."""
    movers = list(zip(film.scene.things, film.motions, strict=True))
    if len(movers) != len(asked.motions):
        return False
    if asked.wish.background not in (None, film.scene.background):
        return False
    wanted = list(zip(asked.wish.things, asked.motions, strict=True))
    return _matched(wanted, movers)


def _matched(wanted: list[tuple[WishedThing, str]], movers: list[tuple[Thing, str]]) -> bool:
    if not wanted:
        return True
    (thing, motion), *rest = wanted
    return any(
        thing.allows(mover)
        and motion == does
        and _matched(rest, movers[:index] + movers[index + 1 :])
        for index, (mover, does) in enumerate(movers)
    )


def _split(clause: str) -> tuple[str, str]:
    """A clause without what its thing does, and that; the background stays."""
    words = clause.split()
    verbs = [index for index, word in enumerate(words) if word in _VERBS]
    if not verbs:
        return clause, MOTIONS[0]
    first = verbs[0]
    rest = words[first:]
    if first == 0:
        raise ValueError(f"not understood: {clause!r}; say what {rest[0]}; {_examples()}")
    ends = [end for end in range(len(rest), 0, -1) if " ".join(rest[:end]) in _MOTION_OF]
    if not ends:
        raise ValueError(
            f"not understood: {clause!r}; motions: {', '.join(_MOTION_OF)}; {_examples()}"
        )
    said, after = " ".join(rest[: ends[0]]), rest[ends[0] :]
    if after and after[0] != "on":
        raise ValueError(
            f"not understood: {' '.join(after)!r}; only the background follows a motion, a place "
            f"comes before it; {_examples()}"
        )
    return " ".join([*words[:first], *after]), _MOTION_OF[said]


def _check(wish: Wish, phrases: int) -> None:
    """Refuse what the films do not show."""
    if len(wish.things) > MAX_MOVERS:
        raise ValueError(
            f"the prompt asks for {len(wish.things)} things, a film has at most {MAX_MOVERS}"
        )
    if wish.relations or len(wish.things) != phrases:
        raise ValueError(
            "a film's prompt names each thing in a phrase of its own, without relations such as "
            f"'above'; {_examples()}"
        )
    if textures := [thing.texture for thing in wish.things if thing.texture not in (None, "plain")]:
        raise ValueError(f"things in films are plain, not {textures[0]}; leave the texture out")


def _phrase(thing: Thing, motion: str, bare: bool, spoken: float, rng: random.Random) -> str:
    words = []
    if rng.random() < _SAY_SIZE:
        words.append(thing.size)
    if rng.random() < _SAY_COLOUR:
        words.append(thing.colour)
    words.append(thing.shape)
    article = [] if bare else ["an" if words[0][0] in "aeiou" else "a"]
    # Places are said of most things of a film or of none.
    if spoken < _SAY_PLACE and rng.random() < 0.8:
        words.append(PLACES[thing.cell][0])
    if motion != "still" or rng.random() < _SAY_STILL:
        names = MOTION_PHRASES[motion]
        words.append(names[0] if rng.random() < 0.6 else rng.choice(names))
    return " ".join([*article, *words])


def _examples() -> str:
    return "examples: " + " | ".join(repr(example) for example in MOTION_EXAMPLES)
