"""What a drafter learns from films that it continues itself.

In use a drafter sees neither clean latents of true films nor its teacher's: the target writes the
first block and the drafter goes on from there, from its own blocks and from its own guess at every
step. So here it is taught on just these states, and what it is taught is what the target would
have said there (on-policy distillation, as DAgger of Ross et al. 2011).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adapters.wan.blocks import BlockCausalWan
from video_ar.noise import BlockNoise
from video_ar.rollout import rollout
from video_ar.schedule import few_steps

from .parallel import teacher_forced
from .vae_shape import CHANNELS, GRID_SIDE
from .wan_shape import BLOCK_FRAMES, BLOCKS

FILMS, STEPS = 256, 250  # films of a round, and steps that learn from them
# Share of blocks at the first step beside those that fall there by chance: it decides most, and a
# drafter may run no other.
AT_FIRST = 0.5
_AT_ONCE = 32
_SHAPE = (CHANNELS, BLOCK_FRAMES, GRID_SIDE, GRID_SIDE)


@dataclass(frozen=True)
class Continued:
    """Films as they came about.

    Attributes:
        latents: ``(films, channels, frames, height, width)``.
        guesses: The clean block that each step predicted, ``(films, steps, channels, frames,
            height, width)``.
        text: States of the prompts, ``(films, tokens, width)``.
    """

    latents: Tensor
    guesses: Tensor
    text: Tensor

    def rows(self, index: list[int]) -> Continued:
        """Some of the films."""
        return Continued(self.latents[index], self.guesses[index], self.text[index])


@torch.no_grad()
def continue_films(
    target: BlockCausalWan, drafter: BlockCausalWan, text: Tensor, seeds: Sequence[int]
) -> Continued:
    """Films of which the target writes the first block and the drafter all others.

    Args:
        target: The teacher.
        drafter: The pupil as it is now.
        text: ``(films, tokens, width)``.
        seeds: Of their noise, one a film.
    """
    noise, schedule = BlockNoise(seeds), few_steps()
    own = drafter.context(text, GRID_SIDE, GRID_SIDE, BLOCKS * BLOCK_FRAMES)
    start = target.context(text, GRID_SIDE, GRID_SIDE, BLOCK_FRAMES)
    latents, guesses = [], []
    for block in range(BLOCKS):
        model, context = (drafter, own) if block else (target, start)
        step_noise = noise.steps(block, _SHAPE)
        made = rollout(model, context, step_noise(0), step_noise, schedule)
        drafter.commit([made.x0], own)
        latents.append(made.x0)
        guesses.append(torch.stack(made.clean, dim=1))
    return Continued(torch.cat(latents, 2), torch.cat(guesses, 3), text)


def continued_loss(model: Any, teacher: Any, films: Continued, seed: int) -> Tensor:
    """Squared distance of velocities from the teacher's, in all blocks after the first.

    Every block is at one of the sampler's steps, in the state that the pupil's guess of the step
    before leads to.

    Args:
        model: From :func:`~adapters.tiny.videos.parallel.install_parallel`.
        teacher: Another such model; gets no gradient.
        films: Made by the pupil.
        seed: Of steps and noise.
    """
    generator = torch.Generator().manual_seed(seed)
    count, steps = films.guesses.shape[:2]
    sigmas = torch.tensor(few_steps().sigmas)
    step = torch.randint(0, steps, (count, BLOCKS), generator=generator)
    step[torch.rand(step.shape, generator=generator) < AT_FIRST] = 0
    levels = sigmas[step]
    by_frame = step.repeat_interleave(BLOCK_FRAMES, dim=1)[:, None, None, :, None, None]
    # Before the first step there is no guess, and the level of the noise leaves room for none.
    before = (by_frame - 1).clamp_min(0).expand(-1, 1, *films.latents.shape[1:])
    guess = films.guesses.gather(1, before)[:, 0]
    sigma = levels.repeat_interleave(BLOCK_FRAMES, dim=1)[:, None, :, None, None]
    noise = torch.randn(guess.shape, generator=generator)
    noisy = (1 - sigma) * guess + sigma * noise
    given = (films.latents, noisy, 1000 * levels, films.text, BLOCK_FRAMES)
    with torch.no_grad():
        wanted = teacher_forced(teacher, *given).float()
    velocity = teacher_forced(model, *given).float()
    return F.mse_loss(velocity[:, :, BLOCK_FRAMES:], wanted[:, :, BLOCK_FRAMES:])


@dataclass
class OwnFilms:
    """Rounds of films that the pupil makes as it gets better.

    Args:
        teacher: From :func:`~adapters.tiny.videos.parallel.install_parallel`.
        pupil: Gives its present weights, in a model that is only read.
        prompts: States of the prompts of a round, from its number and size.
    """

    teacher: Any
    pupil: Callable[[], Any]
    prompts: Callable[[int, int], Tensor]
    _round: int = -1
    _films: Continued = field(init=False)

    def rows(self, step: int, count: int) -> Continued:
        """Films of a step; a round's films are made by the pupil as it is at the round's start."""
        if step // STEPS != self._round:
            self._round = step // STEPS
            self._films = self._make(self._round)
        return self._films.rows([(step * count + row) % FILMS for row in range(count)])

    def _make(self, number: int) -> Continued:
        # Copies, since what makes blocks takes other attention than what learns from them.
        target, pupil = (
            BlockCausalWan(copy.deepcopy(model), BLOCK_FRAMES)
            for model in (self.teacher, self.pupil())
        )
        seeds = range(number * FILMS, (number + 1) * FILMS)
        parts = [
            continue_films(target, pupil, text, seeds[first : first + _AT_ONCE])
            for first, text in zip(
                range(0, FILMS, _AT_ONCE), self.prompts(number, FILMS).split(_AT_ONCE), strict=True
            )
        ]
        tensors = (torch.cat([vars(part)[name] for part in parts]) for name in vars(parts[0]))
        return Continued(*tensors)
