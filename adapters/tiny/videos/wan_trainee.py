"""What the embedded video models learn: the velocity of noisy blocks after clean ones."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from adapters.tiny.averaging import RunningAverage
from video_ar.schedule import few_steps, sigma_grid

from .deepening import deepen
from .parallel import install_parallel, teacher_forced
from .wan_shape import BLOCK_FRAMES, wan_config

# Share of blocks at exactly the levels that the sampler visits; the others lie anywhere on the
# grid, so that other schedules work as well.
VISITED = 0.8
# Deviation of the noise on clean blocks: at sampling they are the model's own and not perfect.
CONTEXT_NOISE = 0.1
TEACHER_WEIGHT = 1.0
# Guidance that a model learns to have, at pure noise; weaker with the square of the noise level,
# since a shape is decided early and colours would be overdone late. At w the model ends up
# w / (1 - w) farther from the weaker model than the truth is: 4.6 times at pure noise.
GUIDANCE = 0.82


class Trainee(nn.Module):
    """A model and the running average of its weights.

    Args:
        kind: ``target``, ``shallow`` or ``drafter``.
        decay: Of the average, per step.
        start: A model to go on from, of the same widths and no more layers.
    """

    def __init__(self, kind: str, decay: float, start: Any | None = None) -> None:
        super().__init__()
        self.model = install_parallel(WanTransformer3DModel(**wan_config(kind)))
        if start is not None:
            deepen(self.model, start)
        self.average = RunningAverage(self.model, decay)

    def update_average(self) -> None:
        """Let the average follow the weights; the first call copies them."""
        self.average.update_parameters(self.model)

    @property
    def averaged(self) -> Any:
        """The model with averaged weights."""
        return self.average.module


def draw_levels(rows: int, blocks: int, generator: torch.Generator) -> Tensor:
    """A noise level for each block of each row, ``(rows, blocks)``."""
    visited = torch.tensor(few_steps().sigmas)
    grid = sigma_grid().float()
    shape = (rows, blocks)
    own = visited[torch.randint(0, len(visited), shape, generator=generator)]
    anywhere = grid[torch.randint(0, len(grid), shape, generator=generator)]
    return torch.where(torch.rand(shape, generator=generator) < VISITED, own, anywhere)


def wan_loss(
    model: Any,
    latents: Tensor,
    text: Tensor,
    seed: int,
    teacher: Any | None = None,
    weak: Any | None = None,
) -> Tensor:
    """Flow-matching loss of all blocks of a batch, each given the blocks before it.

    The squared error of ``noise - x0`` at ``(1 - sigma) x0 + sigma noise``; with a teacher, plus
    the squared distance from the teacher's velocities at the same states.

    With a weaker model what is learned is guided: away from that model's velocities, by the model's
    own present distance from them (autoguidance, Karras et al. 2024, learned as in Tang et al.
    2025). The sampler then needs neither the weaker model nor a second pass.

    Args:
        model: From :func:`~adapters.tiny.videos.parallel.install_parallel`.
        latents: ``(rows, channels, frames, height, width)``, normalised.
        text: ``(rows, tokens, width)``.
        seed: Of noise and noise levels.
        teacher: Another such model; gets no gradient.
        weak: A weaker one; gets none either.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator)
    worn = latents + CONTEXT_NOISE * torch.randn(latents.shape, generator=generator)
    levels = draw_levels(len(latents), latents.shape[2] // BLOCK_FRAMES, generator)
    sigma = levels.repeat_interleave(BLOCK_FRAMES, dim=1)[:, None, :, None, None]
    noisy = (1 - sigma) * latents + sigma * noise
    given = (worn, noisy, 1000 * levels, text, BLOCK_FRAMES)
    velocity = teacher_forced(model, *given).float()
    true = noise - latents
    if weak is not None:
        with torch.no_grad():
            ahead = velocity.detach() - teacher_forced(weak, *given).float()
        true = true + GUIDANCE * sigma.square() * ahead
    loss = F.mse_loss(velocity, true)
    if teacher is not None:
        with torch.no_grad():
            wanted = teacher_forced(teacher, *given).float()
        loss = loss + TEACHER_WEIGHT * F.mse_loss(velocity, wanted)
    return loss
