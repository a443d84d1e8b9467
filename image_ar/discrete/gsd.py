"""Grouped speculative decoding: units of similar target probability are judged together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from image_ar.discrete.neighbours import CodeIds
from image_ar.discrete.relaxation import Odds, Relaxation
from mmspec.options import check_values, one_of, optional, real, whole
from mmspec.rules.certificate import Certificate

Mode = Literal["window", "partition", "official"]
CHECKS = {
    "group_size": whole(1),
    "p_tol": real(0.0),
    "distance_tol": optional(real(0.0)),
    "mode": one_of(("window", "partition", "official")),
}
_CHUNK = 2**23  # gathered group members held at a time


@dataclass(frozen=True, eq=False)
class GroupedSpeculation(Relaxation):
    """GSD (arXiv 2508.07747): accept ``x`` with ``min(1, p(C) / q(C))``, ``C`` its group.

    Units are ranked by target probability, ties by id.

    * ``window``: the units up to ``group_size // 2`` ranks away on each side, cut at both ends of
      the ranking, whose target probability differs from ``p(x)`` by less than ``p_tol`` and whose
      codebook row is nearer than ``distance_tol``. Units the target rules out belong to no group
      but their own, hence are never accepted.
    * ``partition``: ranks in blocks of ``group_size``, likeliest first; units that the target rules
      out are blocks of one. ``p_tol`` and ``distance_tol`` are not used. Only here does the
      paper's theorem hold: acceptance is ``1 - TV(p_C, q_C)``, never less than the exact rule's.
      With the residual ``cluster`` the mass of every group is the target's.
    * ``official``: the slice of the published code, from ``group_size // 2`` ranks below ``x`` to
      one less above (14 units there), with a negative start read as Python reads it: counted from
      the end of the ranking. For large vocabularies that slice is empty for the least likely units
      and the exact test is used; for vocabularies under ``group_size`` it is a wrong group. Units
      that the target rules out are members, so a filtered unit can be accepted.

    Windows overlap: a unit may be accepted less often than by the exact rule, even in total. In
    every mode the output law leans towards ``q`` inside a group; nothing bounds that but the
    tolerances.

    Attributes:
        group_size: G; 1 is exact. Slack scales it to ``round(1 + (G - 1) slack)``.
        p_tol: Largest difference of probability inside a window.
        distance_tol: Squared distance of codebook rows that members stay under; None for any.
        codebook: ``(codes, dim)`` rows to compare; needed for ``distance_tol``.
        mode: See above.
        ids: ``(codes,)`` vocabulary id of every code; None where ids are codes. Units without a
            code are near to none.

    Raises:
        ValueError: An option outside its range, or ``distance_tol`` without a codebook.
    """

    group_size: int
    p_tol: float = 0.15
    distance_tol: float | None = None
    codebook: Tensor | None = None
    mode: Mode = "window"
    ids: Tensor | None = None

    name = "gsd"
    never_below = False

    def __post_init__(self) -> None:
        check_values(CHECKS, vars(self))
        check_distance(self.mode, self.distance_tol)
        if self.distance_tol is None:
            return
        if self.codebook is None:
            raise ValueError(
                f"distance_tol={self.distance_tol:g} needs a codebook; give one or leave it out"
            )
        names = CodeIds(len(self.codebook), self.ids)
        object.__setattr__(self, "_code_of", names.codes.to(self.codebook.device))

    @property
    def residuals(self) -> tuple[str, ...]:  # type: ignore[override]
        """``cluster`` needs groups that do not overlap."""
        return residuals_of(self.mode)

    @property
    def certificate(self) -> Certificate:
        if self.group_size == 1:
            return Certificate("exact", "groups of one leave the exact rule")
        how = {
            "window": "overlapping windows of ranks",
            "partition": "blocks of ranks",
            "official": "the published code's window of ranks",
        }[self.mode]
        return Certificate(
            "lossy",
            f"units are judged together in {how} (G={self.group_size}); inside a group the output "
            "follows the drafter and no bound on that is known; the bias of every judged position "
            "is reported",
        )

    def size(self, slack: float) -> int:
        """G at this slack."""
        return round(1 + (self.group_size - 1) * slack)

    def odds(self, p: Tensor, q: Tensor, units: Tensor, depth: Tensor | int, slack: float) -> Odds:
        """Pure. Sorts ``p``; sums a group in float64."""
        size = self.size(slack)
        if size == 1:
            return Odds(p.gather(-1, units), q.gather(-1, units))
        if self.mode == "partition":
            return _blocks(p, q, units, size)
        order = p.argsort(dim=-1, stable=True)
        rank = _ranks(order)
        if self.mode == "window" and self.distance_tol is None:
            return self._stretches(p, q, order, rank.gather(-1, units), size // 2)
        rows = max(1, p[..., 0].numel())
        chunk = max(1, _CHUNK // (rows * (size + 1)))
        parts = [
            self._windows(p, q, some, order, rank.gather(-1, some), size)
            for some in units.split(chunk, -1)
        ]
        return Odds(*(torch.cat(column, -1) for column in zip(*parts, strict=True)))

    def _stretches(self, p: Tensor, q: Tensor, order: Tensor, rank: Tensor, half: int) -> Odds:
        """Group sums at ``rank`` ``(..., n)`` where groups are stretches of the ranking.

        They are without a distance: then a sum is a difference of two cumulative sums, and all
        units cost one sort.
        """
        ranked = p.gather(-1, order)
        steps = torch.arange(p.shape[-1], device=p.device).expand_as(ranked)
        low = torch.searchsorted(ranked, ranked - self.p_tol, right=True)
        high = torch.searchsorted(ranked, ranked + self.p_tol)
        ruled_out = (ranked <= 0).sum(-1, keepdim=True)
        low = torch.maximum(low.clamp(min=ruled_out), steps - half)
        alone = steps < ruled_out
        low = torch.where(alone, steps, torch.minimum(low, steps))
        high = torch.where(alone, steps, torch.minimum(high - 1, steps + half)).clamp(min=steps) + 1
        low, high = low.gather(-1, rank), high.gather(-1, rank)
        sums = []
        for law in (ranked, q.gather(-1, order)):
            upto = torch.nn.functional.pad(law.double().cumsum(-1), (1, 0))
            sums.append((upto.gather(-1, high) - upto.gather(-1, low)).to(law.dtype))
        return Odds(sums[0], sums[1])

    def _windows(
        self, p: Tensor, q: Tensor, units: Tensor, order: Tensor, rank: Tensor, size: int
    ) -> Odds:
        """Group sums around ``units`` ``(..., n)`` of the given ranks."""
        official, half, vocab = self.mode == "official", size // 2, p.shape[-1]
        if official:
            start = torch.where(rank < half, (rank - half + vocab).clamp(min=0), rank - half)
            place = start.unsqueeze(-1) + torch.arange(2 * half, device=p.device)
            inside = place < (rank + half).clamp(max=vocab).unsqueeze(-1)
        else:
            place = rank.unsqueeze(-1) + torch.arange(-half, half + 1, device=p.device)
            inside = (place >= 0) & (place < vocab)
        ids = order.gather(-1, place.clamp(0, vocab - 1).flatten(-2)).view(place.shape)
        p_x, q_x = p.gather(-1, units), q.gather(-1, units)
        p_y, q_y = (law.gather(-1, ids.flatten(-2)).view(ids.shape) for law in (p, q))
        member = inside & ((p_y - p_x.unsqueeze(-1)).abs() < self.p_tol)
        if self.distance_tol is not None:
            member = member & self._near(units, ids)
        own = ids == units.unsqueeze(-1)
        if not official:
            allowed = (p_y > 0) & (p_x > 0).unsqueeze(-1)
            member = (member & allowed) | (own & inside)
        sums = (_sum(torch.where(member, law, 0.0)) for law in (p_y, q_y))
        # An empty slice makes the published code fall back to the exact test.
        empty = ~inside.any(-1)
        favour, against = (
            torch.where(empty, alone, total) for alone, total in zip((p_x, q_x), sums, strict=True)
        )
        return Odds(favour, against)

    def _near(self, units: Tensor, ids: Tensor) -> Tensor:
        """``(..., n, members)`` bool: squared distance of the rows under ``distance_tol``."""
        assert self.codebook is not None
        assert self.distance_tol is not None
        table: Tensor = self._code_of  # type: ignore[attr-defined]

        def rows(which: Tensor) -> tuple[Tensor, Tensor]:
            code = torch.where(which < len(table), table[which.clamp(max=len(table) - 1)], -1)
            return self.codebook[code.clamp(min=0)].float(), code >= 0  # type: ignore[index]

        (here, known), (there, also) = rows(units), rows(ids)
        squared = (there - here.unsqueeze(-2)).square().sum(-1)
        return (squared < self.distance_tol) & known.unsqueeze(-1) & also


def residuals_of(mode: str) -> tuple[str, ...]:
    """Names of the residual laws that a mode can be used with."""
    return ("optimal", "plain", "cluster") if mode == "partition" else ("optimal", "plain")


def check_distance(mode: str, distance_tol: float | None) -> None:
    """Refuse a distance where ranks alone make the groups.

    Raises:
        ValueError: With the fix.
    """
    if distance_tol is not None and mode == "partition":
        raise ValueError(
            f"distance_tol={distance_tol:g} needs a mode other than 'partition', whose groups are "
            "blocks of ranks; leave one of them out"
        )


def _ranks(order: Tensor) -> Tensor:
    """Where each unit stands in ``order``: the inverse permutation."""
    steps = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter(-1, order, steps)


def _sum(masses: Tensor) -> Tensor:
    # In float64, so that a unit's sum does not depend on how many units are judged at once.
    return masses.double().sum(-1).to(masses.dtype)


def _blocks(p: Tensor, q: Tensor, units: Tensor, size: int) -> Odds:
    """Sums over blocks of ``size`` consecutive ranks, likeliest first."""
    order = p.argsort(dim=-1, descending=True, stable=True)
    block = _ranks(order).gather(-1, units) // size
    pad = (0, -p.shape[-1] % size)
    p_x = p.gather(-1, units)
    alone = ~(p_x > 0)
    found = []
    for law in (p, q):
        ranked = torch.where(p > 0, law, 0.0).gather(-1, order)
        sums = _sum(torch.nn.functional.pad(ranked, pad).unflatten(-1, (-1, size)))
        found.append(torch.where(alone, law.gather(-1, units), sums.gather(-1, block)))
    return Odds(found[0], found[1])
