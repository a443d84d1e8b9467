"""What the video models learn from at every step of a stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .own_films import OwnFilms, continued_loss
from .store import FilmData
from .wan_trainee import Trainee, wan_loss

# A stage has fewer steps than this.
_NEXT_STAGE = 100_000
CONTINUED = "wan-continued"  # the stage whose films the pupil makes


@dataclass(frozen=True)
class Rows:
    """How much a step sees.

    Attributes:
        films: Whole films.
        openings: First blocks of others.
    """

    films: int
    openings: int


# To learn how to go on; and a few first blocks, so that they are not forgotten.
OWN_ROWS = Rows(films=6, openings=8)


class Lessons:
    """Losses of the stages of one model.

    Args:
        trainee: Whose average follows step by step.
        text: From prompts to their states.
        films: True films.
        openings: First blocks of others.
        rows: Of a step, but for films that the pupil makes.
        teacher: For stages after the first; of a drafter.
        weak: For stages after the first: what first blocks are guided away from.
    """

    def __init__(
        self,
        trainee: Trainee,
        text: Callable[[list[str]], Tensor],
        films: FilmData,
        openings: FilmData,
        rows: Rows,
        teacher: Any | None = None,
        weak: Any | None = None,
    ) -> None:
        self.trainee, self.text, self.rows = trainee, text, rows
        self.films, self.openings = films, openings
        self.teacher, self.weak = teacher, weak
        self.own = OwnFilms(teacher, lambda: trainee.averaged, self._prompts)

    def of(self, name: str, number: int) -> Callable[[int], Tensor]:
        """The loss of a step of a stage.

        Args:
            name: Of the stage.
            number: Of the stage, which decides the data; the first, 0, has neither teacher nor
                guidance.
        """
        first = number * _NEXT_STAGE
        teacher, weak = (self.teacher, self.weak) if number else (None, None)
        continued = name == CONTINUED
        openings = OWN_ROWS.openings if continued else self.rows.openings

        def loss(step: int) -> Tensor:
            self.trainee.update_average()
            seed, model = first + step, self.trainee.model
            own = self.own.rows(step, OWN_ROWS.films) if continued else None
            # The fused attention of CPUs is slow backwards in this number format.
            with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                start = wan_loss(
                    model, *self._batch(self.openings, seed, openings), seed, teacher, weak
                )
                if own is not None:
                    return start + continued_loss(model, teacher, own, seed)
                films = self._batch(self.films, seed, self.rows.films)
                return start + wan_loss(model, *films, seed, teacher)

        return loss

    def _batch(self, data: FilmData, step: int, rows: int) -> tuple[Tensor, Tensor]:
        latents, prompts = data.batch(step, rows)
        return latents, self.text(prompts)

    def _prompts(self, number: int, count: int) -> Tensor:
        return self._batch(self.openings, number, count)[1]
