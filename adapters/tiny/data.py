"""Training batches: a prompt with its pictures, and the caption to be learnt."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch

from .model import BOS, EOS, IMAGE, PAD, PATCHES, SPECIALS
from .tower import to_pixels
from .world.captions import caption, clip_caption
from .world.clips import clip_from_seed
from .world.render import render, render_clip
from .world.scene import scene_from_seed
from .world.vocabulary import CLIP_PROMPTS, PICTURE_PROMPTS, STYLE_PROMPTS, words

_WORD_IDS = {word: len(SPECIALS) + index for index, word in enumerate(words())}
_STYLE_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Example:
    """Pictures and the words around them."""

    images: list[np.ndarray]
    prompt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded token ids and the pictures of all rows, in order."""

    ids: torch.Tensor
    starts: list[int]
    lengths: list[int]
    pixels: torch.Tensor


def encode(text: str) -> list[int]:
    """Token ids of space-separated words; an unknown word is an error here."""
    return [_WORD_IDS[word] for word in text.split()]


def draw_prompt(rng: random.Random, prompts: tuple[str, ...]) -> tuple[str, int | None]:
    """Choose a prompt and the caption style it asks for."""
    if rng.random() < _STYLE_SHARE:
        style = rng.randrange(len(STYLE_PROMPTS))
        return STYLE_PROMPTS[style], style
    return rng.choice(prompts), None


def picture_example(seed: int) -> Example:
    """Picture number `seed` of the training set with its caption."""
    scene = scene_from_seed(seed)
    prompt, style = draw_prompt(random.Random(seed), PICTURE_PROMPTS)
    return Example([np.asarray(render(scene))], prompt, caption(scene, style))


def clip_example(seed: int, frames: int) -> Example:
    """Clip number `seed` of the training set, as `frames` pictures, with its caption."""
    clip = clip_from_seed(seed)
    prompt, style = draw_prompt(random.Random(seed), CLIP_PROMPTS)
    images = [np.asarray(frame) for frame in render_clip(clip, frames)]
    return Example(images, prompt, clip_caption(clip, style))


def prompt_ids(prompt: str, images: int) -> list[int]:
    """Token ids of one user turn, image tokens expanded, up to where the caption starts."""
    pictures = [IMAGE] * (PATCHES * images)
    return [BOS, *encode("user :"), *pictures, *encode(f"{prompt} assistant :")]


def collate(examples: list[Example]) -> Batch:
    """Pad a batch on the right; causal attention makes a padding mask unnecessary."""
    heads = [prompt_ids(example.prompt, len(example.images)) for example in examples]
    rows = [
        head + encode(example.caption) + [EOS]
        for head, example in zip(heads, examples, strict=True)
    ]
    ids = torch.full((len(rows), max(map(len, rows))), PAD)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    images = [image for example in examples for image in example.images]
    return Batch(ids, [len(head) for head in heads], [len(row) for row in rows], to_pixels(images))
