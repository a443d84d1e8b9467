"""Speculative Jacobi decoding: the target's own laws of the last round are the next draft.

SJD: Teng et al. 2024, arXiv 2410.01699. SCD, the coupled redraw: So et al. 2025, arXiv 2510.24211.

Why the output law is exact. A position is judged once, in the round that commits it; until then its
draft may be redrawn any number of times. Given everything at the positions in front of it, in all
rounds, its draft is distributed as the law recorded for it: each redraw returns the law of the last
evidence at that position, whichever coupling makes it, and neither that evidence nor any verdict
before the position's own depends on what stands there. That needs redraw noise that no rule reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from image_ar.discrete import initialisation
from image_ar.discrete.coupling import maximal_redraw, shared_redraw
from image_ar.discrete.initialisation import Initialiser, forced_table
from mmspec.distributions import Categorical, Law, OneHot, invert_cdf, take_rows
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.options import one_of

if TYPE_CHECKING:
    from image_ar.discrete.grid import Grid
    from mmspec.noise import Noise
    from mmspec.state import State

_NAMES = {"independent": "sjd", "maximal": "scd", "gumbel": "scd-gs"}
CHECKS = {"redraw": one_of(_NAMES), **initialisation.CHECKS}


@dataclass(frozen=True)
class _Round:
    """What the last round says about positions that it did not commit.

    Attributes:
        first: ``(batch,)`` output position that row 0 of ``law`` decides.
        law: The target's law at ``first`` and at the positions of the ``m`` drafts behind it.
        units: ``(batch, m)`` what was drafted, from position ``first`` on.
        drawn: What the drafts were drawn from.
    """

    first: Tensor
    law: Law
    units: Tensor
    drawn: Law


class JacobiDrafter:
    """Drafts a chain of what the target said, in the last round, about the positions ahead.

    After a round that kept ``a`` of ``m`` drafts the target's own token stands at draft ``a``; the
    drafts behind it are redrawn, each from the law that round gave for its position, and one more
    is drawn from the law after the last draft. Further slots are filled by the initialisation, and
    forced tokens stand where the grid wants them. A plan of length ``L`` is a window of ``L + 1``
    tokens in one pass of the target. Widths, budgets and ``stop_below`` of a plan have no meaning
    here.

    Works for every rule on chains. Under a greedy target the redraw is the argmax: Jacobi's
    iteration to its fixed point.

    Args:
        grid: Geometry of the picture.
        vocab_size: The target's.
        redraw: ``maximal`` keeps a draft as often as its new law allows (SCD-MC), ``gumbel`` lets
            one noise decide every redraw of a position (SCD-GS), ``independent`` draws afresh
            (SJD).
        initialise: What fresh slots hold, see
            :class:`~image_ar.discrete.initialisation.Initialiser`.
        image_ids: Vocabulary ids of the image codes, as a tensor or a slice; None takes all.

    Raises:
        ValueError: An unknown redraw or initialisation.
    """

    def __init__(
        self,
        grid: Grid,
        vocab_size: int,
        redraw: str = "maximal",
        initialise: str = "left",
        image_ids: Tensor | slice | None = None,
    ) -> None:
        CHECKS["redraw"]("redraw", redraw)
        if not isinstance(image_ids, Tensor):
            image_ids = torch.arange(vocab_size)[image_ids or slice(None)]
        self.name = _NAMES[redraw]
        self._end, self._redraw = grid.length, redraw
        self._forced = forced_table(grid)
        self._initialiser = Initialiser(grid, initialise, image_ids)
        self._round: _Round | None = None

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        """Redraw what the last round left open and fill up the window.

        Rows that have fewer than the drafted positions left get invalid nodes behind their end.
        """
        end = min(self._end, state.sampler.sampling.max_new_tokens)
        rows = zip(state.new_lengths, state.finished, strict=True)
        left = [0 if finished else end - made for made, finished in rows]
        nodes = min(plan.length, max(left))
        if nodes < 1 or self._round is None:
            return Draft.empty(state.batch, state.tokens.device)
        start = (state.lengths - state.prompt_lengths).unsqueeze(1)
        positions = start + torch.arange(nodes, device=start.device)
        units, probs = self._tail(self._round, positions, plan.length, noise)
        forced = self._forced_at(positions)
        known = self._has_law(self._round, positions) & (forced < 0)
        units = torch.where(forced < 0, units, forced)
        likeliest = None
        if self._initialiser.reads_laws:
            likeliest = self._likeliest(self._round, start - 1, nodes + 1)
        settled = known | (forced >= 0)
        units = self._initialiser.fill(units, settled, positions, likeliest, state, noise)
        return Draft.chain(
            units,
            law=OneHot() if probs is None else Categorical(_one_hot_where(~known, probs, units)),
            source=self.name,
            valid=None if min(left) >= nodes else positions < end,
        )

    def observe(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Keep the round for the next draft; nothing is copied.

        A round without a draft has nothing to say about later positions, so the window starts anew.
        """
        self._round = _Round(evidence.positions[:, 0], evidence.law, draft.units, draft.law)

    def reset(self) -> None:
        """Forget the last round."""
        self._round = None

    def _tail(
        self, last: _Round, positions: Tensor, count: int, noise: Noise
    ) -> tuple[Tensor, Tensor | None]:
        """A token for each position of the last round, and the law it was drawn from.

        Args:
            last: The last round.
            positions: ``(batch, nodes)`` output positions.
            count: Numbers taken from the noise: the planned length, so that what a row draws does
                not depend on how much the batch has left to do.
            noise: Read in streams that no rule uses.

        Returns:
            Units ``(batch, nodes)`` and laws ``(batch, nodes, vocab)``, a new tensor, or None under
            a greedy target; arbitrary at positions behind the last round.
        """
        drafted = last.units.shape[1]
        row = positions - last.first.unsqueeze(1)
        at = row.clamp(max=drafted)
        if not isinstance(last.law, Categorical):
            return last.law.draw().gather(1, at), None
        p = take_rows(last.law.probs, at)
        nodes = positions.shape[1]
        if self._redraw == "gumbel":
            return shared_redraw(p, noise.at("jacobi-race", positions)), p
        draw = noise.fresh("jacobi-redraw", count)[:, :nodes]
        if self._redraw == "independent" or not drafted:
            return invert_cdf(p, draw), p
        assert isinstance(last.drawn, Categorical)
        keep = noise.fresh("jacobi-keep", count)[:, :nodes]
        before = row.clamp(max=drafted - 1)
        q, units = take_rows(last.drawn.probs, before), last.units.gather(1, before)
        return maximal_redraw(p, q, units, row < drafted, keep, draw), p

    @staticmethod
    def _has_law(last: _Round, positions: Tensor) -> Tensor:
        """Whether the last round says something about each position."""
        return positions - last.first.unsqueeze(1) <= last.units.shape[1]

    @staticmethod
    def _likeliest(last: _Round, start: Tensor, count: int) -> Tensor:
        """``(batch, count)`` likeliest token from position ``start`` on; -1 without a law."""
        law = last.law
        best = law.probs.argmax(-1) if isinstance(law, Categorical) else law.draw()
        row = start + torch.arange(count, device=start.device) - last.first.unsqueeze(1)
        inside = (row >= 0) & (row < best.shape[1])
        return torch.where(inside, best.gather(1, row.clamp(0, best.shape[1] - 1)), -1)

    def _forced_at(self, positions: Tensor) -> Tensor:
        """The id forced at each position, -1 where it is free or behind the grid."""
        if self._forced.device != positions.device:
            self._forced = self._forced.to(positions.device)
        forced = self._forced[positions.clamp(max=self._end - 1)]
        return torch.where(positions < self._end, forced, -1)


def _one_hot_where(fresh: Tensor, probs: Tensor, units: Tensor) -> Tensor:
    """Put all mass on the unit in ``fresh`` rows; changes ``probs`` ``(batch, n, vocab)``."""
    at = units.unsqueeze(-1)
    probs.masked_fill_(fresh.unsqueeze(-1), 0.0)
    mass = torch.where(fresh.unsqueeze(-1), 1.0, probs.gather(-1, at))
    return probs.scatter_(-1, at, mass)
