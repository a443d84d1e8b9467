"""Films and their prompts: things stay in view, never meet, and prompts say what happens."""

from __future__ import annotations

import random

import numpy as np
import pytest

from adapters.tiny.world.films import (
    CELL_FRAMES,
    FILM_FRAMES,
    film_array,
    film_from_seed,
    first_leg,
    make_film,
)
from adapters.tiny.world.motion_prompts import (
    MOTION_EXAMPLES,
    fulfils_motion,
    parse_motion_prompt,
    write_motion_prompt,
)
from adapters.tiny.world.scene import Scene, Thing
from video_ar.schedule import latent_frames


def test_a_film_makes_six_blocks_of_three_latent_frames() -> None:
    assert latent_frames(FILM_FRAMES) == 18
    assert film_array(film_from_seed(0)).shape == (69, 64, 64, 3)


def test_things_stay_in_view_move_smoothly_and_never_meet() -> None:
    for seed in range(300):
        film = film_from_seed(seed)
        path = np.array([film.centres(frame / (FILM_FRAMES - 1)) for frame in range(140)]) * 60
        assert path.min() >= 9.9
        assert path.max() <= 50.1
        assert np.abs(np.diff(path, axis=0)).max() < 2.1
        for one in range(path.shape[1]):
            for other in range(one):
                apart = np.abs(path[:, one] - path[:, other]).max(axis=1)
                # Shapes fill at most 0.92 of their cell of 20 pixels.
                assert apart.min() > 18.4


@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("right", 0, 1), ("left", 0, -1), ("up", 1, -1), ("down", 1, 1)]
)
def test_a_thing_goes_its_way_to_the_border_and_comes_back(
    motion: str, axis: int, sign: int
) -> None:
    film = make_film(Scene((Thing("circle", "red", "large", "plain", 4),), "white"), [motion])
    at = [film.centres(frame / (FILM_FRAMES - 1))[0][axis] for frame in range(2 * CELL_FRAMES + 1)]
    leg = first_leg(motion, film.steps[0])
    assert leg == CELL_FRAMES
    assert np.argmax(sign * np.array(at)) == leg
    assert at[-1] == pytest.approx(at[0])


def test_training_and_held_out_films_differ_and_seeds_repeat() -> None:
    assert film_from_seed(3) == film_from_seed(3)
    assert film_from_seed(3) != film_from_seed(3, held_out=True)
    with pytest.raises(ValueError, match="seed must be"):
        film_from_seed(-1)


def test_written_prompts_are_true_and_read_back() -> None:
    seen = set()
    for seed in range(600):
        film = film_from_seed(seed)
        wish = parse_motion_prompt(write_motion_prompt(film, random.Random(seed)))
        assert fulfils_motion(wish, film)
        assert not fulfils_motion(wish, make_film(film.scene, ["still"] * len(film.motions)))
        seen.update(wish.motions)
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("prompt", "motions", "looks"),
    [
        ("a red circle moves to the right", ("right",), ("red", "circle")),
        ("A blue square moves up.", ("up",), ("blue", "square")),
        ("a green triangle bounces", ("bounces",), ("green", "triangle")),
        ("green star bounces up and down, a cross", ("bounces", "still"), ("green", "star")),
        (MOTION_EXAMPLES[1], ("bounces", "still"), ("blue", "square")),
    ],
)
def test_prompts_are_understood(
    prompt: str, motions: tuple[str, ...], looks: tuple[str, str]
) -> None:
    asked = parse_motion_prompt(prompt)
    assert asked.motions == motions
    assert (asked.wish.things[0].colour, asked.wish.things[0].shape) == looks


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "empty"),
        ("a red circle flies", "unknown word 'flies'"),
        ("moves up", "say what moves"),
        ("a red circle moves", "motions: "),
        ("a red circle moves up in the centre", "a place comes before"),
        ("two red circles move up", "unknown word 'move'"),
        ("two red circles", "phrase of its own"),
        ("a star above a cross moves up", "without relations"),
        ("a striped star moves up", "plain, not striped"),
        ("a star, a star, a star and a star", "at most 3"),
    ],
)
def test_what_films_do_not_show_is_refused(prompt: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_motion_prompt(prompt)
