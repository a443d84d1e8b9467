"""What a rule hands back to a target of latent vectors where it cannot name the next unit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Continuation:
    """Denoising chains that the target goes on with, of the unit after the accepted path.

    Attributes:
        states: ``(batch, group, width)`` where each chain stands.
        first: ``(batch, group)`` the step, in order of time, that it runs next. The number of steps
            means that the vector is finished; 0 that it has not begun and stands at ``x_T``.
    """

    states: Tensor
    first: Tensor


@dataclass(frozen=True)
class Replacement:
    """Vectors that change in place; the rest of the draft stays.

    Attributes:
        units: ``(batch, nodes, group, width)`` the draft after the changes.
        replaced: ``(batch, nodes, group)`` bool, True for the vectors that the target made.
    """

    units: Tensor
    replaced: Tensor
