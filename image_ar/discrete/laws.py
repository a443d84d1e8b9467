"""Output laws of relaxed rejection: what is drawn after a refusal, and how far that leads from p.

Pure functions, tensors in and tensors out. One step drafts ``x ~ q``, accepts it with probability
``a(x)`` and otherwise draws from a residual law ``r_x``, so its output law is::

    out = q a + sum_x q(x) (1 - a(x)) r_x          bias = TV(out, p)

Where the residual does not depend on the refused unit this costs O(vocab). A residual without mass
is replaced by ``p``, never by a uniform law, which could emit units that the target rules out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from image_ar.discrete.lantern import Lantern, LanternPlus, Pooled
from image_ar.discrete.relaxation import Odds, Relaxation, every_unit
from mmspec.distributions import residual as plain_residual
from mmspec.distributions import total_variation
from mmspec.options import one_of

_CHUNK = 2**23  # entries of unit-by-vocabulary tables held at a time


@dataclass(frozen=True)
class Step:
    """One draft unit under judgement.

    Attributes:
        relaxation: The policy.
        p: ``(..., vocab)`` the target's law; in a tree what earlier refusals left of it.
        q: ``(..., vocab)`` the law the unit was drawn from.
        depth: Index inside the draft.
        slack: Share of the relaxation in use.
    """

    relaxation: Relaxation
    p: Tensor
    q: Tensor
    depth: Tensor | int = 0
    slack: float = 1.0

    @cached_property
    def odds(self) -> Odds:
        """Odds of every unit, ``(..., vocab)`` each; what a policy costs is paid once a step."""
        return self.relaxation.odds(self.p, self.q, every_unit(self.p), self.depth, self.slack)


def refusal_law(residual: str, step: Step, units: Tensor) -> Tensor:
    """Law of the correction after ``units`` ``(...)`` were refused, ``(..., vocab)``.

    * ``optimal``: ``norm((p - q a)+)``. Equals ``plain`` bit for bit where acceptance is nowhere
      below the exact rule's.
    * ``plain``: ``norm((p - q)+)``.
    * ``mass_moved``: the pooled mass moves onto the refused unit, ``norm((p_A - q)+)``.
    * ``official_static``: LANTERN's code for static trees. If anything was pooled ``q`` is cleared
      on the ``k + 1`` nearest neighbours, then ``norm((p - q)+)``.
    * ``official_dynamic``: its code for dynamic trees, meant for deterministic drafts. ``p`` is
      cleared at the refused unit and, if anything was pooled, on its ``k + 1`` nearest neighbours,
      then normalised.
    * ``cluster``: a group by ``norm((p_C - q_C)+)``, a unit by ``p`` inside it.

    Without slack it is ``plain`` whatever the name, since the step has to be exact then.

    Raises:
        ValueError: The policy has no residual of that name.
    """
    check_residual(step.relaxation, residual)
    return _plain(step, units) if step.slack == 0 else _LAWS[residual](step, units)


def check_residual(relaxation: Relaxation, residual: str) -> None:
    """Refuse a residual law that a policy cannot be used with.

    Raises:
        ValueError: With the names that are possible, or with the width of the neighbour table that
            the residual needs.
    """
    one_of(relaxation.residuals)(f"the residual of {relaxation.name}", residual)
    if residual in ("official_static", "official_dynamic"):
        policy = _lantern(relaxation)
        if policy.clears > policy.neighbours.k_max:
            raise ValueError(
                f"residual {residual!r} needs the {policy.clears} nearest codes, the neighbour "
                f"table has {policy.neighbours.k_max}; build a wider table or lower k"
            )


def acceptance_rate(step: Step) -> Tensor:
    """``sum q a``, the probability that a drafted unit is accepted, ``(...)``."""
    return (step.q * step.odds.chance).sum(-1)


def output_law(step: Step, residual: str = "optimal") -> Tensor:
    """Exact law of the unit that one step emits, ``(..., vocab)``.

    For residuals that depend on the refused unit the cost is O(vocab) a unit that can be refused,
    and their number is read on the host.

    Raises:
        ValueError: The policy has no residual of that name.
    """
    taken = step.q * step.odds.chance
    refused = step.q - taken
    if residual not in _PER_UNIT or not step.slack:
        law = refusal_law(residual, step, torch.zeros_like(taken[..., 0], dtype=torch.long))
        return taken + refused.sum(-1, keepdim=True) * law
    count = int((refused > 0).sum(-1).max())
    masses, units = refused.topk(count, -1)
    chunk = max(1, _CHUNK // max(1, refused.numel()))
    for mass, some in zip(masses.split(chunk, -1), units.split(chunk, -1), strict=True):
        law = refusal_law(residual, _repeat(step, some.shape[-1]), some)
        taken = taken + (mass.unsqueeze(-1) * law).sum(-2)
    return taken


def one_step_bias(step: Step, residual: str = "optimal") -> Tensor:
    """``TV(out, p)`` of one step, ``(...)``; up to float32 rounding 0 where nothing is relaxed.

    Raises:
        ValueError: The policy has no residual of that name.
    """
    return total_variation(output_law(step, residual), step.p)


def _optimal(step: Step, units: Tensor) -> Tensor:
    p, q = step.p, step.q
    if step.relaxation.never_below:
        return plain_residual(p, q)
    odds = step.odds
    # At or above the exact acceptance q a >= min(p, q) leaves what q itself leaves; taking q there
    # keeps the rounding of a quotient out of it.
    above = (odds.favour >= odds.against) | (odds.favour * q >= p * odds.against)
    return plain_residual(p, torch.where(above, q, q * odds.chance))


def _plain(step: Step, units: Tensor) -> Tensor:
    return plain_residual(step.p, step.q)


def _cluster(step: Step, units: Tensor) -> Tensor:
    p, (mass, against) = step.p, step.odds
    share = (mass - against).clamp(min=0.0) / mass.clamp(min=torch.finfo(p.dtype).tiny)
    return _normalised(p * share, p)


def _mass_moved(step: Step, units: Tensor) -> Tensor:
    pooled = _pooled(step, units)
    taken = pooled.taken.squeeze(-2)
    moved = step.p * ~_marked(step.p, pooled.ids.squeeze(-2), taken)
    moved = moved.scatter(-1, units.unsqueeze(-1), pooled.mass)
    return _normalised((moved - step.q).clamp(min=0.0), step.p)


def _official_static(step: Step, units: Tensor) -> Tensor:
    return plain_residual(step.p, step.q * ~_cleared(step, units))


def _official_dynamic(step: Step, units: Tensor) -> Tensor:
    left = (step.p * ~_cleared(step, units)).scatter(-1, units.unsqueeze(-1), 0.0)
    return _normalised(left, step.p)


def _cleared(step: Step, units: Tensor) -> Tensor:
    """``(..., vocab)`` bool: the ``k + 1`` nearest of units that pooled anything."""
    relaxation = _lantern(step.relaxation)
    near = relaxation.wider(units)
    some = _pooled(step, units).taken.flatten(-2).any(-1, keepdim=True)
    return _marked(step.p, near, (near >= 0) & some)


def _pooled(step: Step, units: Tensor) -> Pooled:
    return _lantern(step.relaxation).pooled(step.p, units.unsqueeze(-1), step.slack)


def _lantern(relaxation: Relaxation) -> Lantern | LanternPlus:
    assert isinstance(relaxation, Lantern | LanternPlus), "only LANTERN names these residuals"
    return relaxation


def _marked(p: Tensor, ids: Tensor, chosen: Tensor) -> Tensor:
    """``(..., vocab)`` bool, True at the ``ids`` ``(..., k)`` that are chosen."""
    marks = torch.zeros(p.shape, device=p.device)
    return marks.scatter_add(-1, ids.clamp(min=0), chosen.to(marks)) > 0


def _normalised(left: Tensor, p: Tensor) -> Tensor:
    mass = left.sum(-1, keepdim=True)
    return torch.where(mass > 0, left / mass.clamp(min=torch.finfo(p.dtype).tiny), p)


def _repeat(step: Step, count: int) -> Step:
    """The same step for ``count`` refused units side by side."""
    depth, shape = step.depth, (*step.p.shape[:-1], count, step.p.shape[-1])
    p, q = (law.unsqueeze(-2).expand(shape) for law in (step.p, step.q))
    if isinstance(depth, Tensor) and depth.dim():
        depth = depth.unsqueeze(-1)
    return Step(step.relaxation, p, q, depth, step.slack)


_LAWS: dict[str, Callable[[Step, Tensor], Tensor]] = {
    "optimal": _optimal,
    "plain": _plain,
    "mass_moved": _mass_moved,
    "official_static": _official_static,
    "official_dynamic": _official_dynamic,
    "cluster": _cluster,
}
_PER_UNIT = ("mass_moved", "official_static", "official_dynamic")
