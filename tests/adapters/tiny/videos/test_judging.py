"""Frames of films are read as what they show, and motions are told from them."""

from __future__ import annotations

import random

import torch

from adapters.tiny.images.judge import load_judge
from adapters.tiny.videos.evaluate import film_scores
from adapters.tiny.videos.judging import find_things, read_frames
from adapters.tiny.videos.pixels import film_pixels
from adapters.tiny.world.films import film_from_seed
from adapters.tiny.world.motion_prompts import parse_motion_prompt, write_motion_prompt


def test_true_films_score_full_and_those_of_other_prompts_do_not() -> None:
    films = [film_from_seed(seed, held_out=True) for seed in range(3)]
    wishes = [
        parse_motion_prompt(write_motion_prompt(film, random.Random(seed)))
        for seed, film in enumerate(films)
    ]
    judge = load_judge()
    readings = [
        read_frames(judge, (film_pixels([film], 40)[0].transpose(0, 1) + 1) / 2) for film in films
    ]
    scores = film_scores(wishes, readings)
    assert scores["attribute_accuracy"] > 0.97
    assert scores["count"] > 0.97
    assert scores["motion"] == 1.0
    assert scores["smooth"] > 0.97
    others = film_scores(wishes[1:] + wishes[:1], readings)
    assert others["attribute_accuracy"] < 0.6
    backwards = film_scores(wishes, [reading[::-1] for reading in readings])
    assert backwards["motion"] < 1.0


def test_each_connected_part_is_a_thing_and_crumbs_are_none() -> None:
    frame = torch.ones(3, 64, 64)
    frame[:, 5:15, 5:15] = 0.0
    frame[0, 30:40, 30:50] = 0.5
    frame[:, 60, 60] = 0.0
    empty = torch.ones(3, 64, 64)
    found = find_things(torch.stack([empty, frame, frame]), torch.ones(3, 3))
    sizes = [int((found.labels == name).sum()) for name in found.names]
    assert sorted(sizes) == [100, 100, 200, 200]
    assert found.owners == [1, 1, 2, 2]
    assert found.middles == [(9.5, 9.5), (39.5, 34.5)] * 2
    assert find_things(empty[None], torch.ones(1, 3)).names == []


def test_empty_frames_have_a_background_and_no_things() -> None:
    frames = torch.full((2, 3, 64, 64), 0.98)
    for reading in read_frames(load_judge(), frames):
        assert reading.sightings == ()
        assert reading.background
