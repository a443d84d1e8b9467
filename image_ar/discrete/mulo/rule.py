"""The acceptance rule of MuLo-SD: a threshold on the target's mass, and islands drawn anew."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from image_ar.discrete.grid import Grid
from image_ar.discrete.mulo.geometry import ORDERS, Cell, pooled_mass, spread, wave_numbers
from image_ar.discrete.neighbours import Neighbours
from mmspec.distributions import Categorical, Law, OneHot
from mmspec.messages import Draft, Evidence, Regeneration, Verdict
from mmspec.noise import Noise
from mmspec.options import check_values, one_of, real, whole
from mmspec.rules import Match
from mmspec.rules.certificate import Certificate
from mmspec.rules.match import STREAM

CHECKS = {
    "tau": real(0.0),
    "k": whole(0),
    "radius": whole(1),
    "order": one_of(ORDERS),
    "window": whole(1),
}


class MultiScaleRule:
    """Keeps drafted cells that the target finds likely enough and has the others drawn anew.

    A cell is refused where the target's mass on it and its ``k`` nearest codes is below ``tau``,
    whatever it was drawn from. Refused cells and those within ``radius`` of them, from the first
    refused one on, are drawn from the target's own law, each given everything that stands before it
    by then; all others stay.

    A draft must end one cell before the end of a row: the target's own unit fills that cell, and is
    drawn anew too where the expansion reaches it. The number that decides a draw depends on the
    cell's output position only. So with ``tau`` above 1, which refuses everything, and ``raster``
    order, the output is that of plain decoding under the same seed, unit for unit; ``zipar`` with a
    window as wide as the grid is the same.

    ``Plan.slack`` raises the threshold from ``tau`` at 1 towards 1; at 0 everything is refused.
    ``Verdict.bias`` holds ``TV(out, p) = 1 - p(x)`` of each cell ``x`` that stays, ``p`` being the
    law it was judged by, and 0 for cells that the target draws. What the law became after cells
    before it were drawn anew is not looked at.

    Args:
        grid: Geometry of the picture.
        tau: Least mass of a cell that stays; 0 keeps all, above 1 keeps none.
        k: Nearest codes whose mass counts; 0 looks at the unit alone.
        radius: Rows and columns by which refusals spread, 1 or more.
        order: Order inside an island, see :func:`~image_ar.discrete.mulo.geometry.wave_numbers`.
        window: For ``zipar``.
        neighbours: Table of nearest codes; needed where ``k`` is above 0.

    Raises:
        ValueError: An option out of range, or ``k`` without a table that is wide enough.
    """

    certificate = Certificate(
        "lossy",
        "cells that the target finds likely enough stay though they were not drawn from its law, "
        "and cells before them may change after they were judged; no bound on the output law is "
        "known",
    )

    def __init__(
        self,
        grid: Grid,
        tau: float = 0.05,
        k: int = 0,
        radius: int = 1,
        order: str = "raster",
        window: int = 4,
        neighbours: Neighbours | None = None,
    ) -> None:
        given = {"tau": tau, "k": k, "radius": radius, "order": order, "window": window}
        check_values(CHECKS, given)
        if k and (neighbours is None or neighbours.k_max < k):
            wide = 0 if neighbours is None else neighbours.k_max
            raise ValueError(
                f"k={k} needs a table of that many nearest codes, got {wide}; build one with "
                "Neighbours.build, or use k=0"
            )
        self._grid, self._tau, self._k, self._radius = grid, tau, k, radius
        self._order, self._window, self._neighbours = order, window, neighbours
        self._match = Match()

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure; an empty draft is matched. One transfer to the host says what is refused.

        Raises:
            TypeError: The draft is no chain.
            ValueError: The draft does not end one cell before the end of a row, or is padded.
        """
        if not draft.nodes:
            return self._match.judge(draft, evidence, noise)
        if not draft.tree.is_chain:
            raise TypeError("islands are drawn anew in chains; use another rule for branches")
        if draft.valid is not None:
            raise ValueError("islands are drawn anew in whole rows; draft chains without padding")
        uniforms = noise.at(STREAM, evidence.positions)
        drawn = evidence.law.draw(uniforms)
        p = _probabilities(evidence.law)[:, :-1]
        mass = pooled_mass(p, draft.units, self._neighbours, self._k)
        # Written as a negation so that a NaN is refused.
        refused = ~(mass >= self._threshold(draft.slack))
        table = torch.cat([evidence.positions[:, :1], refused.long()], 1).tolist()
        waves = [self._waves(start, row) for start, *row in table]
        again = Regeneration(torch.tensor(waves, device=p.device), uniforms)
        own_mass = pooled_mass(p, draft.units, None, 0)
        if isinstance(evidence.law, OneHot):
            own_mass = (draft.units == drawn[:, :-1]).float()
        steps = torch.arange(draft.nodes, device=p.device)
        return Verdict(
            path=steps.expand(draft.batch, -1),
            accepted=torch.full_like(draft.units[:, 0], draft.nodes),
            own=drawn[:, -1],
            corrected=torch.zeros_like(draft.units[:, 0], dtype=torch.bool),
            again=again,
            bias=torch.where(again.waves[:, :-1] < 0, 1 - own_mass, 0.0),
        )

    def _threshold(self, slack: float) -> float:
        """The mass below which a cell is refused."""
        return inf if slack == 0 else 1 - slack * (1 - self._tau)

    def _waves(self, start: int, refused: list[int]) -> list[int]:
        """The wave of every unit of one row's round, -1 for those that stay.

        Args:
            start: Output position of the first drafted unit.
            refused: One entry a drafted unit, 1 where it is refused.
        """
        grid, count = self._grid, len(refused) + 1
        waves = [-1] * count
        ends = grid.rows * grid.line
        if start >= ends:  # the row is complete
            return waves
        if (start + count) % grid.line or start + count > ends:
            raise ValueError(
                f"a draft of {count - 1} units from position {start} does not end one cell before "
                f"the end of a row of {grid.line}; this rule takes drafts of whole rows"
            )
        places: dict[Cell, int] = {}
        for place in range(count):
            cell = grid.cell_of(start + place)
            if cell is not None:
                places[cell] = place
        bad = [cell for cell, place in places.items() if place < count - 1 and refused[place]]
        again = [cell for cell in spread(grid, bad, self._radius) if cell in places]
        for cell, wave in wave_numbers(grid, again, self._order, self._window).items():
            waves[places[cell]] = wave
        return waves


def _probabilities(law: Law) -> Tensor:
    """``(batch, nodes + 1, vocab)``; of a greedy target those its choice was made from.

    Raises:
        TypeError: The law has none.
    """
    if isinstance(law, Categorical):
        return law.probs
    if isinstance(law, OneHot) and law.scores is not None:
        return law.scores.float().softmax(-1)
    raise TypeError("the threshold needs the target's probabilities; this law has none")
