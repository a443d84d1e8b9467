"""Fidelity: what is asked, what is right, and who is taken for whom."""

from __future__ import annotations

import random

import pytest

from adapters.tiny.world.fidelity import fidelity
from adapters.tiny.world.prompt_parser import parse_prompt
from adapters.tiny.world.scene import Thing
from adapters.tiny.world.wishes import consistent_scene

RED_SQUARE = Thing("square", "red", "large", "plain", 0)
RED_SQUARE_BELOW = Thing("square", "red", "small", "striped", 7)
GREEN_CIRCLE = Thing("circle", "green", "small", "dotted", 4)


def test_only_what_is_said_is_asked() -> None:
    wish = parse_prompt("a red square in the centre above a small star on mint")
    asked = fidelity(wish, [], None).asked
    assert asked == {
        "shape": 2,
        "colour": 1,
        "size": 1,
        "place": 1,
        "relation": 1,
        "count": 1,
        "background": 1,
    }
    assert fidelity(parse_prompt("a star"), [], "mint").asked == {"shape": 1, "count": 1}


def test_nothing_seen_is_all_wrong() -> None:
    assert fidelity(parse_prompt("two red squares on mint"), [], None).accuracy == 0


def test_order_of_things_seen_does_not_matter() -> None:
    wish = parse_prompt("two red squares and a green circle")
    for seen in ([RED_SQUARE, RED_SQUARE_BELOW, GREEN_CIRCLE], [GREEN_CIRCLE, RED_SQUARE_BELOW]):
        forth, back = fidelity(wish, seen, None), fidelity(wish, seen[::-1], None)
        assert forth == back
    assert fidelity(wish, [GREEN_CIRCLE, RED_SQUARE, RED_SQUARE_BELOW], None).accuracy == 1


def test_equal_wishes_are_told_apart_by_their_places() -> None:
    wish = parse_prompt("a red square at the bottom and a red square in the upper left corner")
    assert fidelity(wish, [RED_SQUARE, RED_SQUARE_BELOW], None).accuracy == 1


def test_equal_wishes_are_told_apart_by_their_relations() -> None:
    wish = parse_prompt("a square below a circle below a square")
    assert fidelity(wish, [RED_SQUARE, GREEN_CIRCLE, RED_SQUARE_BELOW], None).accuracy == 1


def test_a_missing_thing_is_wrong_in_all_its_answers() -> None:
    wish = parse_prompt("a large red square left of a green circle")
    score = fidelity(wish, [RED_SQUARE], None)
    assert score.asked == {"shape": 2, "colour": 2, "size": 1, "relation": 1, "count": 1}
    assert score.right == {"shape": 1, "colour": 1, "size": 1, "relation": 0, "count": 0}


def test_a_thing_too_many_costs_the_count_only() -> None:
    score = fidelity(parse_prompt("a green circle"), [RED_SQUARE, GREEN_CIRCLE], None)
    assert score.right == {"shape": 1, "colour": 1, "count": 0}


def test_one_wrong_look_costs_one_answer() -> None:
    score = fidelity(parse_prompt("a small blue dotted circle"), [GREEN_CIRCLE], None)
    assert score.right == {"shape": 1, "colour": 0, "size": 1, "texture": 1, "count": 1}
    assert score.accuracy == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    ("relation", "first", "second", "right"),
    [
        ("above", 0, 3, 1),
        ("above", 0, 2, 0),
        ("above", 2, 3, 1),
        ("below", 8, 5, 1),
        ("left of", 6, 1, 1),
        ("left of", 3, 0, 0),
        ("to the right of", 2, 7, 1),
        ("on the right of", 0, 1, 0),
    ],
)
def test_relations_are_strict_in_rows_and_columns(
    relation: str, first: int, second: int, right: int
) -> None:
    wish = parse_prompt(f"a star {relation} a cross")
    star = Thing("star", "red", "small", "plain", first)
    cross = Thing("cross", "red", "small", "plain", second)
    assert fidelity(wish, [cross, star], None).right["relation"] == right


def test_several_things_on_a_side_share_a_row() -> None:
    wish = parse_prompt("two red squares at the top")
    score = fidelity(wish, [RED_SQUARE, RED_SQUARE_BELOW], None)
    assert (score.right["place"], score.asked["place"]) == (1, 2)


def test_background_is_right_or_wrong() -> None:
    wish = parse_prompt("a green circle on mint")
    assert fidelity(wish, [GREEN_CIRCLE], "mint").right["background"] == 1
    assert fidelity(wish, [GREEN_CIRCLE], "peach").right["background"] == 0
    assert fidelity(wish, [GREEN_CIRCLE], None).right["background"] == 0


def test_a_picture_of_another_prompt_scores_less() -> None:
    rng = random.Random(0)
    wish = parse_prompt("a large red circle above a small blue square")
    other = parse_prompt("a small green star above a large black cross")
    scenes = [consistent_scene(other, rng) for _ in range(50)]
    scores = [fidelity(wish, scene.things, scene.background).accuracy for scene in scenes]
    assert max(scores) < 0.6


def test_more_things_than_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 9"):
        fidelity(parse_prompt("a star"), [RED_SQUARE] * 10, None)
