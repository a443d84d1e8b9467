"""When drafting latent vectors begins, and in windows of what length."""

from __future__ import annotations

from dataclasses import replace
from math import floor
from typing import Any

from mmspec.messages import Commit, Plan
from mmspec.roles import Pacer


class Prefilled:
    """Leaves the first steps of a picture to the target (CSpD, Wang et al. 2024, "pre-filling").

    Early vectors are the ones on which two models disagree most.

    Args:
        pacer: Decides about the others.
        share: Of a picture's steps, in ``[0, 1)``.
        aligned: As in the released program: one step more is left to the target, and windows end
            at steps whose numbers, from 0, are multiples of their length. All rows of a batch must
            then stand at the same step.

    Raises:
        ValueError: The share is out of range.
    """

    def __init__(self, pacer: Pacer, share: float, aligned: bool = False) -> None:
        if not 0 <= share < 1:
            raise ValueError(
                f"prefill must be at least 0 and below 1, a share of the steps, got {share}"
            )
        self._pacer, self._share, self._aligned = pacer, share, aligned

    @property
    def declined(self) -> bool:
        """What the inner pacer says."""
        return bool(getattr(self._pacer, "declined", False))

    def plan(self, state: Any) -> Plan:
        """The inner plan, or none; reads lengths only."""
        done = min(state.new_lengths)
        first = floor(state.steps * self._share) + self._aligned
        if done < first:
            return Plan(length=0)
        plan = self._pacer.plan(state)
        if not self._aligned or not plan.length:
            return plan
        end = -(-done // plan.length) * plan.length
        return replace(plan, length=min(end, state.steps - 1) - done + 1)

    def observe(self, commit: Commit, seconds: dict[str, float]) -> None:
        """Passed on."""
        self._pacer.observe(commit, seconds)
