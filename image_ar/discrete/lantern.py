"""LANTERN and LANTERN++: the nearest codes of a drafted code lend it their target mass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from image_ar.discrete.neighbours import Neighbours
from image_ar.discrete.relaxation import Odds, Relaxation
from mmspec.options import check_values, real, whole
from mmspec.rules.certificate import Certificate

RESIDUALS = ("optimal", "plain", "mass_moved", "official_static", "official_dynamic")
CHECKS = {"delta": real(0.0, 1.0), "multiplier": real(1.0), "k": whole(0)}
EXACT = Certificate("exact", "nothing is pooled, which leaves the exact rule")
_CHUNK = 2**23  # gathered masses held at a time


class Pooled(NamedTuple):
    """Units with the mass their neighbours lend.

    Attributes:
        mass: ``(..., n)`` ``p(x)`` plus the pooled mass.
        ids: ``(..., n, k)`` neighbours, nearest first; -1 where a unit has none.
        taken: ``(..., n, k)`` bool, the neighbours whose mass was pooled: a prefix of the list.
    """

    mass: Tensor
    ids: Tensor
    taken: Tensor


def pool(p: Tensor, units: Tensor, neighbours: Neighbours, k: int, budget: Tensor) -> Pooled:
    """Pool the longest prefix of each neighbour list whose mass fits the budget.

    The running sum and its comparison ``<=`` are float32, so that a sum which is equal to the
    budget only in exact arithmetic falls as it does in the published code.

    Args:
        p: ``(..., vocab)``.
        units: ``(..., n)``.
        neighbours: Their lists.
        k: How far a list is read.
        budget: ``(..., n)`` most mass that may be pooled.
    """
    ids = neighbours.of(units, k)
    known = ids >= 0
    near = p.gather(-1, ids.clamp(min=0).flatten(-2)).view(ids.shape)
    sums = near.float().masked_fill(~known, 0.0).cumsum(-1)
    taken = (sums <= budget.float().unsqueeze(-1)) & known
    steps = torch.nn.functional.pad(sums, (1, 0)).gather(-1, taken.sum(-1, keepdim=True))
    return Pooled(p.gather(-1, units) + steps.squeeze(-1).to(p.dtype), ids, taken)


@dataclass(frozen=True)
class _Pooling(Relaxation):
    """What both share: ``min(1, P_A(x) / q(x))`` with ``P_A`` pooled within a budget."""

    neighbours: Neighbours

    residuals = RESIDUALS
    never_below = True

    @property
    def reach(self) -> int:
        """Neighbours looked at."""
        raise NotImplementedError

    def budget(self, p_x: Tensor, slack: float) -> Tensor:
        """Most mass that a unit of probability ``p_x`` may borrow."""
        raise NotImplementedError

    def pooled(self, p: Tensor, units: Tensor, slack: float) -> Pooled:
        """See :func:`pool`; the draft's law plays no part in it."""
        budget = self.budget(p.gather(-1, units), slack)
        return pool(p, units, self.neighbours, self.reach, budget)

    def odds(self, p: Tensor, q: Tensor, units: Tensor, depth: Tensor | int, slack: float) -> Odds:
        """Pure. Works on a few units at a time, so that no ``(vocab, k)`` table is made whole."""
        rows = max(1, p[..., 0].numel())
        chunk = max(1, _CHUNK // (rows * max(1, self.reach)))
        masses = [self.pooled(p, some, slack).mass for some in units.split(chunk, -1)]
        return Odds(torch.cat(masses, -1), q.gather(-1, units))

    @property
    def clears(self) -> int:
        """Neighbours that the published code clears after a refusal: ``k + 1``, or all others."""
        return min(self.reach + 1, self.neighbours.codes - 1)

    def wider(self, units: Tensor) -> Tensor:
        """The neighbours of ``units`` ``(...)`` that are cleared, ``(..., clears)``."""
        return self.neighbours.of(units, self.clears)


@dataclass(frozen=True)
class Lantern(_Pooling):
    """LANTERN (Jang et al. 2025, arXiv 2410.03355): a drafted code may borrow at most ``delta``.

    Moving the pooled mass onto ``x`` changes the law used in the test for ``x`` by at most
    ``delta`` in total variation. It does **not** bound the output law: every drafted code has a
    neighbourhood of its own, so several codes may each gain up to ``delta``. For
    ``p = (.30, .22, .18, .14, .10, .06)``, ``q = (.05, .05, .05, .60, .15, .10)`` and a budget of
    0.25 the output law is 0.31 away from ``p``.

    Attributes:
        neighbours: Nearest codes.
        delta: Budget in ``[0, 1]``; 0 pools nothing and is exact.
        k: Neighbours looked at; 0 is exact.

    Raises:
        ValueError: An option outside its range.
    """

    delta: float
    k: int

    name = "lantern"

    def __post_init__(self) -> None:
        check_values(CHECKS, vars(self))
        whole(0, self.neighbours.k_max)("k", self.k)

    @property
    def reach(self) -> int:
        return self.k

    @property
    def certificate(self) -> Certificate:
        if not (self.delta and self.k):
            return EXACT
        return Certificate(
            "lossy",
            f"delta={self.delta:g} bounds the mass that one code borrows from its {self.k} nearest "
            "neighbours, not the distance of the output law, which only the drafter's own distance "
            "from the target limits; the bias of every judged position is reported",
        )

    def budget(self, p_x: Tensor, slack: float) -> Tensor:
        return torch.full_like(p_x, self.delta * slack)


@dataclass(frozen=True)
class LanternPlus(_Pooling):
    """LANTERN++ (Park et al. 2025, arXiv 2502.06352): mass may grow ``multiplier`` times at most.

    The budget of ``x`` is ``(multiplier - 1) p(x)``, so ``P_A(x) <= multiplier p(x)`` and a code
    the target rules out is never accepted. As no unit's output probability can then exceed
    ``multiplier p(x)`` through acceptance, one step's output law is within ``multiplier - 1`` of
    the target's in total variation, which says something below 2 only.

    Attributes:
        neighbours: Nearest codes.
        multiplier: The paper's lambda, at least 1; 1 pools nothing and is exact.
        k: Neighbours looked at; 0 is exact.

    Raises:
        ValueError: An option outside its range.
    """

    multiplier: float
    k: int

    name = "lantern++"

    def __post_init__(self) -> None:
        check_values(CHECKS, vars(self))
        whole(0, self.neighbours.k_max)("k", self.k)

    @property
    def reach(self) -> int:
        return self.k

    @property
    def certificate(self) -> Certificate:
        if self.multiplier == 1 or not self.k:
            return EXACT
        if self.multiplier >= 2:
            return Certificate(
                "lossy",
                f"lambda={self.multiplier:g} bounds how far the mass of one code may grow; it "
                "bounds the distance of the output law only below 2; the bias of every judged "
                "position is reported",
            )
        return Certificate(
            "bounded",
            f"every unit tried moves the output law by at most {self.multiplier - 1:.3g} in total "
            "variation, and the steps of an image add up",
        )

    def budget(self, p_x: Tensor, slack: float) -> Tensor:
        return p_x * ((self.multiplier - 1) * slack)
