"""What a drafter and a target record of latent vectors, so that a rule can compare them.

A unit is a group of vectors that one autoregressive step reveals: ``(group, width)``. ``places``
``(batch, rows, group)`` says where in its picture each vector belongs; -1 is padding. A draft has
one row a node, the target's evidence one more: row ``r`` is about the unit that follows node ``r``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from image_ar.continuous.gaussian import GaussianStep
from mmspec.distributions import NoTable
from mmspec.messages import Draft, Evidence


class _Recorded(NoTable):
    """What both records share as laws."""

    no_draw = (
        "a latent vector comes out of its model's denoising chain, not out of one uniform; "
        "read the record's units"
    )
    no_probability = (
        "latent vectors have densities, and those of a whole chain cannot be computed; "
        "no probability can be given"
    )


@dataclass(frozen=True)
class Endpoints(_Recorded):
    """Where denoising chains ended; the model's own noise made every step but the last.

    Attributes:
        last: ``(batch, rows, group, width)`` law of the final step.
        trail: ``(batch, rows, group)`` sum of the log standard deviations of all earlier steps.
        units: ``(batch, rows, group, width)`` the vectors, drawn with the noise of their places.
        places: ``(batch, rows, group)``.
    """

    last: GaussianStep
    trail: Tensor
    units: Tensor
    places: Tensor


@dataclass(frozen=True)
class Paths(_Recorded):
    """Whole denoising chains.

    Attributes:
        states: ``(batch, nodes, steps, group, width)`` where each kernel was evaluated, ``x_T``
            first. The draft's own in both records.
        kernels: Of that shape: the draft's laws in its record, the target's at the draft's states
            in the evidence, which has one row a node here.
        places: ``(batch, rows, group)``; in the evidence ``nodes + 1`` rows, as everywhere.
    """

    states: Tensor
    kernels: GaussianStep
    places: Tensor


Record = TypeVar("Record", Endpoints, Paths)


def recorded(
    kind: type[Record], draft: Draft, evidence: Evidence, rule: str, beyond: int = 1
) -> tuple[Record, Record]:
    """Records of target and draft, in this order.

    Args:
        kind: What the rule reads.
        draft: A chain.
        evidence: The target's.
        rule: Its name, for messages.
        beyond: Rows that the target needs beyond those of the draft.

    Raises:
        TypeError: One of them is another law, or the draft has branches; ``rule`` is named.
        ValueError: Their rows or group sizes do not fit.
    """
    p, q = evidence.law, draft.law
    if not (isinstance(p, kind) and isinstance(q, kind)):
        raise TypeError(
            f"{rule} reads {kind.__name__} of target and draft, "
            f"got {type(p).__name__} and {type(q).__name__}"
        )
    if not draft.tree.is_chain:
        raise TypeError(f"{rule} judges chains; a draft of latent vectors has no branches")
    batch, nodes, group = draft.units.shape[:3]
    own, other = tuple(q.places.shape), tuple(p.places.shape)
    fits = (other[0], other[2]) == (batch, group) and other[1] >= nodes + beyond
    if own != (batch, nodes, group) or not fits:
        raise ValueError(
            f"{nodes} drafted units of {group} vectors need {nodes} recorded rows of the draft and "
            f"{nodes + beyond} of the target, of {group} vectors each; got places of shape "
            f"{own} and {other}"
        )
    return p, q
