"""The mathematics of laws: tensors in, tensors out. No model, no device choice, no state.

``p`` is the target's law and ``q`` the law a drafted unit was drawn from. A *uniform* is a number
in ``[0, 1)`` supplied by the caller, so every function here is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn, Protocol

import torch
from torch import Tensor


class Law(Protocol):
    """Law of one unit after each of several nodes."""

    @property
    def is_one_hot(self) -> bool:
        """True when every row puts all its mass on one unit."""
        ...

    def draw(self, uniforms: Tensor | None = None) -> Tensor:
        """One unit a row, ``(batch, rows)``; ``uniforms`` of that shape decide which."""
        ...

    def probability(self, rows: Tensor, units: Tensor) -> Tensor:
        """Probability of ``units`` ``(batch, k)`` under rows ``(batch, k)``."""
        ...


@dataclass(frozen=True)
class OneHot:
    """A deterministic proposal, or a greedy target.

    Attributes:
        units: ``(batch, rows)`` the unit that carries all mass. None in a draft, where the drafted
            units themselves are meant.
        scores: ``(batch, rows, vocab)`` logits the choice was made from, for reporting.
    """

    units: Tensor | None = None
    scores: Tensor | None = None

    @property
    def is_one_hot(self) -> bool:
        return True

    def draw(self, uniforms: Tensor | None = None) -> Tensor:
        """The only possible unit of each row; the uniforms are not needed."""
        if self.units is None:
            raise ValueError(
                "this law names no units: only a target's greedy law can be drawn from"
            )
        return self.units

    def probability(self, rows: Tensor, units: Tensor) -> Tensor:
        """Softmax probability, under the logits the choice came from, of ``units`` at ``rows``."""
        if self.scores is None:
            return torch.ones(units.shape, device=units.device)
        chosen = take_rows(self.scores, rows).float()
        at = chosen.gather(-1, units.unsqueeze(-1)).squeeze(-1)
        return (at - chosen.logsumexp(-1)).exp()


@dataclass(frozen=True)
class Categorical:
    """A distribution over a vocabulary a node: ``probs`` is ``(batch, rows, vocab)``, float32."""

    probs: Tensor

    @property
    def is_one_hot(self) -> bool:
        return False

    def draw(self, uniforms: Tensor | None = None) -> Tensor:
        """One unit a row by inverting the cumulative distribution at ``uniforms``."""
        if uniforms is None:
            raise ValueError("drawing from a categorical law needs one uniform number a row")
        return invert_cdf(self.probs, uniforms)

    def probability(self, rows: Tensor, units: Tensor) -> Tensor:
        """Probability of ``units`` ``(batch, k)`` at ``rows`` ``(batch, k)``."""
        return take_rows(self.probs, rows).gather(-1, units.unsqueeze(-1)).squeeze(-1)


class NoTable:
    """Part of a law that is no table of probabilities: such records are compared, not drawn from.

    Attributes:
        no_draw: Why no unit can be drawn from it.
        no_probability: Why it knows no probability.
    """

    no_draw: ClassVar[str]
    no_probability: ClassVar[str]

    @property
    def is_one_hot(self) -> bool:
        return False

    def draw(self, uniforms: Tensor | None = None) -> NoReturn:
        """Not possible.

        Raises:
            TypeError: Always.
        """
        raise TypeError(self.no_draw)

    def probability(self, rows: Tensor, units: Tensor) -> NoReturn:
        """Not possible.

        Raises:
            TypeError: Always.
        """
        raise TypeError(self.no_probability)


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """``values[b, rows[b, k]]`` for ``values`` ``(batch, n, ...)`` and ``rows`` ``(batch, k)``."""
    index = rows.reshape(*rows.shape, *([1] * (values.dim() - 2)))
    return values.gather(1, index.expand(*rows.shape, *values.shape[2:]))


def invert_cdf(probs: Tensor, uniforms: Tensor) -> Tensor:
    """The unit at which the cumulative law first exceeds the uniform.

    The same uniform at the same law gives the same unit in every method, which is why speculative
    and plain sampling agree unit for unit under one seed. Summed in float64: with a vocabulary of
    150,000 a float32 sum is off by about 1e-5.

    Args:
        probs: ``(..., vocab)``; need not be normalised exactly.
        uniforms: ``(...)`` in ``[0, 1)``.
    """
    cumulative = probs.double().cumsum(-1)
    height = uniforms.double().unsqueeze(-1) * cumulative[..., -1:]
    # Units of zero mass are never chosen: the sum does not rise there and ``right`` skips ties.
    return (
        torch.searchsorted(cumulative, height, right=True)
        .squeeze(-1)
        .clamp_(max=probs.shape[-1] - 1)
    )


def residual(p: Tensor, q: Tensor) -> Tensor:
    """``norm((p - q)+)``, the law of the correction (Leviathan et al. 2023, section 2.3).

    Where nothing is left (``p <= q`` everywhere, possible only by rounding) ``p`` itself is
    returned, which is then the right law up to that rounding.
    """
    left = (p - q).clamp(min=0.0)
    mass = left.sum(-1, keepdim=True)
    return torch.where(mass > 0, left / mass.clamp(min=torch.finfo(p.dtype).tiny), p)


def overlap(p: Tensor, q: Tensor) -> Tensor:
    """``sum min(p, q)``: the probability that the exact chain rule accepts."""
    return torch.minimum(p, q).sum(-1)


def total_variation(p: Tensor, q: Tensor) -> Tensor:
    """Half the L1 distance of two laws, between 0 and 1."""
    return 0.5 * (p - q).abs().sum(-1)


def without(q: Tensor, units: Tensor) -> Tensor:
    """``q`` with ``units`` removed and the rest normalised: the law of the next sibling.

    Args:
        q: ``(..., vocab)``.
        units: ``(...)`` to remove.
    """
    rest = q.scatter(-1, units.unsqueeze(-1), 0.0)
    return rest / rest.sum(-1, keepdim=True).clamp(min=torch.finfo(q.dtype).tiny)


def draw_siblings(q: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draws without replacement from every row of ``q``.

    Args:
        q: ``(..., vocab)`` law of the first sibling.
        uniforms: ``(..., width)`` a number for each.

    Returns:
        Units ``(..., width)``; the law each was drawn from, the earlier ones removed
        ``(..., width, vocab)``; and whether there was anything left to draw ``(..., width)``.
    """
    units, laws, there = [], [], []
    for uniform in uniforms.unbind(-1):
        unit = invert_cdf(q, uniform)
        units.append(unit)
        laws.append(q)
        there.append(q.sum(-1) > 0)
        q = without(q, unit)
    return torch.stack(units, -1), torch.stack(laws, -2), torch.stack(there, -1)
