"""Tiny random Wan models behind the loader of videos: no weights to read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adapters.wan.blocks import BlockCausalWan
from adapters.wan.target import WanBlocks, WanTarget
from adapters.wan.vae import WanVae
from mmspec.video_target import VideoDefaults
from tests.adapters.wan.tiny_wan import TEXT_WIDTH, random_vae, random_wan
from video_ar.rewards.prompts import PromptWindow
from video_ar.schedule import few_steps

HERE = "tests.core.video_target"
BLOCKS, HEIGHT, WIDTH = 3, 16, 32
WORDS = {"a", "red", "ball", "star"}
given: list[dict[str, Any]] = []  # options of every call of the loader


def encode(prompt: str) -> Tensor:
    generator = torch.Generator().manual_seed(len(prompt))
    return torch.randn(1, 7, TEXT_WIDTH, generator=generator)


def tiny_target(seed: int = 0, steps: tuple[int, ...] = (1000, 500), frames: int = 3) -> WanTarget:
    """A target, or with another seed a drafter; two steps a block."""
    torch.manual_seed(seed)  # of the numbers that random_wan leaves as they were made
    wan = BlockCausalWan(random_wan(seed, num_layers=1), frames)
    target = WanTarget(WanBlocks(wan), WanVae(random_vae(base_dim=4)), few_steps(steps), encode)
    target.name, target.defaults = "toy", VideoDefaults(BLOCKS, HEIGHT, WIDTH, 8.0)
    return target


def load(name: str, **options: Any) -> WanTarget:
    """Stands in for the loader: ``toy``, ``draft``, and drafters that do not fit."""
    given.append(options)
    kinds: dict[str, dict[str, Any]] = {
        "toy": {},
        "draft": {"seed": 1},
        "steps": {"seed": 1, "steps": (1000, 750)},
        "shape": {"seed": 1, "frames": 2},
    }
    if name not in kinds:
        raise ValueError(f"there is no file or folder '{name}'")
    return tiny_target(**kinds[name])


class _Words:
    """A tokenizer of words."""

    def __call__(self, prompt: str, max_length: int = 0, **rest: Any) -> dict[str, Any]:
        ids = list(range(len(prompt.split())))
        if not max_length:
            return {"input_ids": ids}
        kept = torch.tensor([ids[:max_length] + [0] * (max_length - len(ids))])
        return {"input_ids": kept, "attention_mask": torch.ones_like(kept)}


class ShortSighted:
    """A reward that reads two words of a prompt."""

    name, needs_prompt, context, default_threshold = "short-sighted", True, 0, 0.5

    def __init__(self) -> None:
        self._prompt = PromptWindow(_Words(), 2, "the reward")

    def score(self, frames: Tensor, prompt: str) -> Tensor:
        self._prompt(prompt, frames.device)
        return torch.ones(len(frames))


def short_sighted(device: str) -> ShortSighted:
    """Stands in for the loader of a reward."""
    return ShortSighted()


def read_words(text: str) -> None:
    """Stands in for the parser of the small world's prompts."""
    for word in text.split():
        if word not in WORDS:
            raise ValueError(f"unknown word '{word}'; nearest words: red")


def judge(prompts: list[str], videos: list[Tensor]) -> dict[str, float]:
    """Stands in for the judge."""
    assert len(prompts) == len(videos)
    assert all(video.shape[1:] == (3, HEIGHT, WIDTH) and video.max() <= 1 for video in videos)
    return {"attribute_accuracy": 0.5, "motion": 0.25}
