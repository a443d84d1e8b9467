"""The judge as a reward and as a score of whole films."""

from __future__ import annotations

import pytest
import torch

from adapters.tiny.videos.pixels import film_pixels
from adapters.tiny.videos.reward import load_reward
from adapters.tiny.videos.scoring import score_videos
from adapters.tiny.world.films import film_from_seed
from adapters.tiny.world.motion_prompts import write_motion_prompt
from mmspec import catalog
from mmspec.pipelines.rewards import load_reward as by_name
from video_ar.building import SCORERS
from video_ar.rewards.protocol import score_frames


@pytest.fixture(scope="module")
def films() -> list[tuple[str, torch.Tensor]]:
    import random

    found = []
    for seed in range(3):
        film = film_from_seed(seed, held_out=True)
        pixels = (film_pixels([film], 30)[0].transpose(0, 1) + 1) / 2
        found.append((write_motion_prompt(film, random.Random(seed)), pixels))
    return found


def test_true_frames_beat_those_of_other_films(films: list[tuple[str, torch.Tensor]]) -> None:
    reward = by_name("judge")
    for place, (prompt, pixels) in enumerate(films):
        own = score_frames(reward, pixels[:4], prompt)
        other = score_frames(reward, films[place - 1][1][:4], prompt)
        assert own.shape == (4,)
        assert own.min() >= reward.default_threshold > other.min()
        assert other.min() >= 0
        assert own.max() <= 1
    noise = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert score_frames(reward, noise, films[0][0]).max() < 0.5


def test_films_are_scored_as_a_whole(films: list[tuple[str, torch.Tensor]]) -> None:
    prompts, videos = [prompt for prompt, _ in films], [pixels for _, pixels in films]
    scores = score_videos(prompts, videos)
    assert scores["attribute_accuracy"] > 0.95
    assert scores["motion"] == 1.0
    still = [pixels[:1].expand(30, -1, -1, -1) for pixels in videos]
    assert score_videos(prompts, still)["motion"] < 0.7


def test_frames_and_prompts_that_the_judge_cannot_read() -> None:
    reward = load_reward()
    with pytest.raises(ValueError, match="reads pictures of 64 x 64 pixels, got 48 x 32"):
        reward.score(torch.zeros(1, 3, 32, 48), "a red circle moves up")
    with pytest.raises(ValueError, match="unknown word 'dog'"):
        reward.score(torch.zeros(1, 3, 64, 64), "a dog")


def test_every_reward_of_the_catalog_is_there() -> None:
    for path in (*catalog.REWARDS.values(), *catalog.WEIGHED_REWARDS.values()):
        assert callable(catalog.resolve(path))
    assert catalog.resolve(catalog.PLAIN_REWARDS) is SCORERS
