"""What the video models learn from at every step of a stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .store import FilmData
from .wan_trainee import Trainee, wan_loss

# A stage has fewer steps than this.
_NEXT_STAGE = 100_000


@dataclass(frozen=True)
class Rows:
    """How much a step sees.

    Attributes:
        films: Whole films.
        openings: First blocks of others.
    """

    films: int
    openings: int


@dataclass(frozen=True)
class Lessons:
    """Losses of the stages of one model.

    Attributes:
        trainee: Whose average follows step by step.
        text: From prompts to their states.
        films: Whole films.
        openings: First blocks of others.
        rows: Of a step.
        teacher: For stages after the first; of a drafter.
        weak: For stages after the first: what first blocks are guided away from.
    """

    trainee: Trainee
    text: Callable[[list[str]], Tensor]
    films: FilmData
    openings: FilmData
    rows: Rows
    teacher: Any | None = None
    weak: Any | None = None

    def of(self, number: int) -> Callable[[int], Tensor]:
        """The loss of a step of a stage.

        Args:
            number: Of the stage, which decides the data; the first, 0, has neither teacher nor
                guidance.
        """
        first = number * _NEXT_STAGE
        teacher, weak = (self.teacher, self.weak) if number else (None, None)

        def loss(step: int) -> Tensor:
            self.trainee.update_average()
            seed, model = first + step, self.trainee.model
            films = self._batch(self.films, seed, self.rows.films)
            openings = self._batch(self.openings, seed, self.rows.openings)
            # The fused attention of CPUs is slow backwards in this number format.
            with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                whole = wan_loss(model, *films, seed, teacher)
                return whole + wan_loss(model, *openings, seed, teacher, weak)

        return loss

    def _batch(self, data: FilmData, step: int, rows: int) -> tuple[Tensor, Tensor]:
        latents, prompts = data.batch(step, rows)
        return latents, self.text(prompts)
