"""What a relaxed acceptance policy is: a pure function from laws to acceptance probabilities."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mmspec.rules.certificate import Certificate


class Odds(NamedTuple):
    """An acceptance probability as a fraction, ``min(1, favour / against)``.

    Kept apart because the rules test ``uniform * against < favour``: with ``favour = p(x)`` and
    ``against = q(x)`` that is the exact rule's own comparison, bit for bit.

    Attributes:
        favour: Target mass that speaks for the unit.
        against: Draft mass it is weighed against.
    """

    favour: Tensor
    against: Tensor

    @property
    def chance(self) -> Tensor:
        """``min(1, favour / against)``; NaN counts as 0, as the comparison refuses it.

        Where ``against`` is 0 the unit cannot be drafted; the value is then 1 if ``favour`` > 0.
        """
        ratio = torch.where(self.against == 0, (self.favour > 0).to(self.favour), self._ratio)
        return ratio.clamp(max=1.0).nan_to_num(0.0)

    @property
    def _ratio(self) -> Tensor:
        return self.favour / self.against


class Relaxation(Protocol):
    """A policy that accepts more than the exact rule does, at the price of a bias.

    Policies hold options and read-only tables, nothing that changes. ``p`` and ``q`` are
    ``(..., vocab)`` float32, the target's law and the law that the unit was drawn from, both after
    guidance, temperature and filters. ``depth`` is the index inside the draft, an int or a tensor
    that broadcasts against the leading dimensions of ``p``. ``slack`` in ``[0, 1]`` scales the
    policy's knob: 0 is the exact rule ``min(1, p / q)`` bit for bit.

    Attributes:
        name: What reports call it.
        residuals: Names of the residual laws of :mod:`image_ar.discrete.laws` it can be used with.
        never_below: True when no unit's acceptance is ever below the exact rule's.
    """

    name: str
    residuals: tuple[str, ...]
    never_below: bool

    @property
    def certificate(self) -> Certificate:
        """What holds for the output law with the residual ``optimal`` or ``plain``."""
        ...

    def odds(self, p: Tensor, q: Tensor, units: Tensor, depth: Tensor | int, slack: float) -> Odds:
        """Odds of ``units`` ``(..., n)``, ``n`` candidates under the same laws."""
        ...

    def chance(
        self, p: Tensor, q: Tensor, units: Tensor, depth: Tensor | int, slack: float
    ) -> Tensor:
        """Acceptance probability of one unit a law, ``units`` ``(...)``."""
        odds = self.odds(p, q, units.unsqueeze(-1), depth, slack)
        return odds.chance.squeeze(-1)

    def acceptance(self, p: Tensor, q: Tensor, depth: Tensor | int, slack: float) -> Tensor:
        """Acceptance probability of every unit, ``(..., vocab)``."""
        return self.odds(p, q, every_unit(p), depth, slack).chance


def every_unit(p: Tensor) -> Tensor:
    """All unit ids, in the shape of ``p`` ``(..., vocab)``; a view."""
    return torch.arange(p.shape[-1], device=p.device).expand(p.shape)
