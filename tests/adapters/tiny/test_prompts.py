"""Prompts: what is written is true and read back; what is not in the grammar is refused."""

from __future__ import annotations

import random
import time
from collections import Counter
from itertools import pairwise

import pytest

from adapters.tiny.world.fidelity import fidelity
from adapters.tiny.world.prompt_parser import EXAMPLES, parse_prompt
from adapters.tiny.world.prompt_words import (
    CELLS_OF_PLACE,
    MAX_PROMPT_WORDS,
    PLACES,
    PLURALS,
    PROMPT_WORDS,
    RELATIONS,
    SHARED_PLACES,
    normalise,
)
from adapters.tiny.world.prompts import prompt_scene, write_prompt
from adapters.tiny.world.scene import Scene, Thing, sample_scene
from adapters.tiny.world.vocabulary import SHAPES
from adapters.tiny.world.wishes import ALL_CELLS, Wish, WishedThing, consistent_scene, fulfils

SEEDS = 2_000


def _wish(*things: WishedThing, **rest: object) -> Wish:
    return Wish(things, **rest)  # type: ignore[arg-type]


GRAMMAR = {
    "a circle": _wish(WishedThing("circle")),
    "three stars": _wish(*[WishedThing("star")] * 3),
    "a large red circle above a small blue square": _wish(
        WishedThing("circle", "red", "large"),
        WishedThing("square", "blue", "small"),
        relations=((0, "above", 1),),
    ),
    "a red circle above a striped square": _wish(
        WishedThing("circle", "red"),
        WishedThing("square", texture="striped"),
        relations=((0, "above", 1),),
    ),
    "two red squares and a green circle": _wish(
        *[WishedThing("square", "red")] * 2, WishedThing("circle", "green")
    ),
    "a small striped purple square in the upper left corner": _wish(
        WishedThing("square", "purple", "small", "striped", frozenset({0}))
    ),
    "two stars above a circle on mint": _wish(
        *[WishedThing("star")] * 2,
        WishedThing("circle"),
        relations=((0, "above", 2), (1, "above", 2)),
        background="mint",
    ),
    "a star on the left of a cross": _wish(
        WishedThing("star"), WishedThing("cross"), relations=((0, "left", 1),)
    ),
    "a star on the left on a grey background": _wish(
        WishedThing("star", cells=frozenset({3})), background="grey"
    ),
    "two crosses at the bottom, an orange star": _wish(
        *[WishedThing("cross", cells=frozenset({6, 7, 8}))] * 2, WishedThing("star", "orange")
    ),
    "a star below a cross to the right of a circle and a square": _wish(
        *[WishedThing(shape) for shape in ("star", "cross", "circle", "square")],
        relations=((0, "below", 1), (1, "right", 2)),
    ),
}


@pytest.fixture(scope="module")
def written() -> list[tuple[Scene, str, Wish]]:
    pairs = []
    for seed in range(SEEDS):
        rng = random.Random(seed)
        scene = prompt_scene(rng)
        text = write_prompt(scene, rng)
        pairs.append((scene, text, parse_prompt(text)))
    return pairs


@pytest.mark.parametrize("text", GRAMMAR)
def test_the_grammar_is_read_as_meant(text: str) -> None:
    assert parse_prompt(text) == GRAMMAR[text]


@pytest.mark.parametrize(
    ("loose", "plain"),
    [
        ("A red circle, above a striped square.", "a red circle above a striped square"),
        ("big star", "a large star"),
        ("a star on gray", "a star on a grey background"),
        ("an red star in the center!", "a red star in the centre"),
        ('"2 red squares", and 1 green circle', "two red squares and one green circle"),
        ("a star; a cross. a circle", "a star, a cross, a circle"),
        ("a striped large red star", "a large red striped star"),
        ("a star in the upper-left corner", "a star at the top left"),
    ],
)
def test_case_stops_synonyms_and_order_of_looks_do_not_matter(loose: str, plain: str) -> None:
    assert parse_prompt(loose) == parse_prompt(plain)


@pytest.mark.parametrize("seed", [4517, 6174, 8663, 9173, 9531, 9586])
def test_a_place_before_a_relation_is_not_read_as_another_place(seed: int) -> None:
    """ "in the middle" before "left of" once came out as "in the middle left of"."""
    rng = random.Random(seed)
    text = write_prompt(prompt_scene(rng), rng)
    assert parse_prompt(text).relations
    assert "to the" in text


def test_what_is_written_is_true_and_is_read_back(written: list[tuple[Scene, str, Wish]]) -> None:
    for scene, text, wish in written:
        assert fulfils(wish, scene), text
        assert fidelity(wish, scene.things, scene.background).accuracy == 1, text


def test_the_writer_says_every_word_and_no_other(written: list[tuple[Scene, str, Wish]]) -> None:
    said = {word for _, text, _ in written for word in normalise(text)}
    assert said == set(PROMPT_WORDS)
    assert len(PROMPT_WORDS) == len(set(PROMPT_WORDS)) < 110


def test_prompts_stay_within_the_limit(written: list[tuple[Scene, str, Wish]]) -> None:
    assert max(len(normalise(text)) for _, text, _ in written) <= MAX_PROMPT_WORDS


def test_the_writer_gives_articles_by_sound(written: list[tuple[Scene, str, Wish]]) -> None:
    pairs = [pair for _, text, _ in written for pair in pairwise(text.split())]
    assert {word for article, word in pairs if article == "an"} == {"orange"}
    assert ("a", "orange") not in pairs


def test_every_named_phrase_comes_up(written: list[tuple[Scene, str, Wish]]) -> None:
    every = [name for names in (*PLACES, *RELATIONS.values()) for name in names]
    texts = " | ".join(text for _, text, _ in written)
    assert [name for name in every if name not in texts] == []


def test_shares_of_what_is_said(written: list[tuple[Scene, str, Wish]]) -> None:
    things = [thing for _, _, wish in written for thing in wish.things]
    said = {
        name: sum(getattr(thing, name) is not None for thing in things) / len(things)
        for name in ("colour", "size", "texture")
    }
    assert said == pytest.approx({"colour": 0.85, "size": 0.45, "texture": 0.55}, abs=0.04)
    several = [wish for _, _, wish in written if len(wish.things) > 1]
    layouts = Counter(
        "relations"
        if wish.relations
        else "places"
        if any(thing.cells != ALL_CELLS for thing in wish.things)
        else "free"
        for wish in several
    )
    assert layouts["places"] / len(several) == pytest.approx(0.5, abs=0.05)
    assert layouts["relations"] / len(several) == pytest.approx(0.25, abs=0.05)
    backgrounds = sum(wish.background is not None for _, _, wish in written)
    assert backgrounds / len(written) == pytest.approx(0.4, abs=0.04)
    plurals = sum(any(word in PLURALS.values() for word in text.split()) for _, text, _ in written)
    assert plurals / len(written) > 0.1


def test_most_prompts_mention_things_in_raster_order() -> None:
    looks = (("circle", "red"), ("square", "blue"), ("star", "green"))
    things = [Thing(*look, "small", "plain", cell) for cell, look in enumerate(looks)]
    scene, raster = Scene(tuple(things), "mint"), ["circle", "square", "star"]
    rng = random.Random(0)
    orders = [[w for w in normalise(write_prompt(scene, rng)) if w in SHAPES] for _ in range(600)]
    assert sum(order == raster for order in orders) / 600 == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a red hexagon", "unknown word 'hexagon'; nearest words: .*shapes: circle"),
        ("a rectangle", "unknown word 'rectangle'; nearest words: triangle"),
        ("a tiny circle", "unknown word 'tiny'"),
        ("a circl", "nearest words: circle"),
        ("five stars", "'five' is not a number of things"),
        ("7 stars", "'7' is not a number of things"),
        ("three stars and two circles", "asks for 5 things"),
        ("", "empty"),
        (" ., ", "empty"),
        ("word " * 10_000, "has 10000 words and commas, at most 40"),
        ("a circle red", "not understood: 'red'.*examples: .*above"),
        ("a red blue circle", "not understood: 'blue circle'; a thing has one colour"),
        ("a white circle", "'white' is a background; colours"),
        ("a circle on a red background", "a background is one of: white"),
        ("a circle on mint and a star", "nothing can follow the background"),
        ("a circle and", "stops too early"),
        ("a circle above", "stops too early"),
        ("above a circle", "not understood: 'above a circle'"),
        ("stars", "say how many, such as 'two stars'"),
        ("two star", "more than one star are 'stars'"),
        ("two stars in the centre", "a place holds one thing, two are asked for"),
        ("a star in the centre and a cross in the middle", "both asked for at 'centre'"),
        ("a star above a cross above a star above a circle", "no arrangement"),
        ("a star at the bottom above a cross", "no arrangement"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_prompt(text)


def test_a_huge_prompt_is_refused_at_once() -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match="at most 40"):
        parse_prompt("a red circle and " * 10_000)
    assert time.process_time() - start < 1


def test_examples_in_errors_are_in_the_grammar() -> None:
    for example in EXAMPLES:
        parse_prompt(example)


def test_all_names_of_a_cell_mean_that_cell() -> None:
    for cell, names in enumerate(PLACES):
        for name in names:
            assert parse_prompt(f"a star {name}").things[0].cells == {cell}
    assert sum(map(len, PLACES)) == len(CELLS_OF_PLACE)
    assert SHARED_PLACES["on the left"] == {0, 3, 6}


def test_relations_that_run_in_a_circle_are_refused() -> None:
    stars = [WishedThing("star")] * 3
    around = ((0, "above", 1), (2, "below", 1), (2, "above", 0))
    with pytest.raises(ValueError, match="run in a circle"):
        _wish(*stars, relations=around)
    _wish(*stars, relations=(*around[:2], (2, "left", 0)))


def test_wishes_name_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match="unknown colour 'pink'; known: red"):
        WishedThing("star", "pink")
    with pytest.raises(ValueError, match="unknown relation 'inside'"):
        _wish(*[WishedThing("star")] * 2, relations=((0, "inside", 1),))
    with pytest.raises(ValueError, match="joins two of the things 0 to 0"):
        _wish(WishedThing("star"), relations=((0, "above", 1),))
    with pytest.raises(ValueError, match="1 to 4 things"):
        _wish()


def test_the_writer_refuses_scenes_it_has_no_words_for() -> None:
    with pytest.raises(ValueError, match="the scene has 5"):
        write_prompt(sample_scene(random.Random(0), 5), random.Random(0))


@pytest.mark.parametrize("text", GRAMMAR)
def test_drawn_scenes_fulfil_their_wish(text: str) -> None:
    wish = parse_prompt(text)
    for seed in range(20):
        assert fulfils(wish, consistent_scene(wish, random.Random(seed)))


def test_scenes_are_drawn_uniformly() -> None:
    """Of 15 scenes, the one in which both stars are red can be read in two ways."""
    cells = frozenset({0, 1})
    wish = _wish(
        WishedThing("star", "red", "small", "plain", cells),
        WishedThing("star", None, "small", "plain", cells),
        background="mint",
    )
    rng, draws = random.Random(3), 3_000
    counts = Counter(consistent_scene(wish, rng) for _ in range(draws))
    assert len(counts) == 15
    expected = draws / 15
    # 36.1 is the 99.9 % point of chi-square with 14 degrees of freedom.
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 36.1
