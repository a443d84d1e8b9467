"""What the slots of a Jacobi window hold before any law is known for them.

All of it is deterministic given what was drafted before and noise that nothing else uses, so the
law of such a token is one-hot and the rules stay exact whatever it is.

Source: Teng et al. 2024, arXiv 2410.01699, section 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmspec.options import one_of

if TYPE_CHECKING:
    from image_ar.discrete.grid import Grid
    from mmspec.noise import Noise
    from mmspec.state import State

INITIALISATIONS = ("random", "left", "above", "left_law")
CHECKS = {"initialise": one_of(INITIALISATIONS)}
_STREAM = "jacobi-start"


def forced_table(grid: Grid) -> Tensor:
    """``(length,)`` the id that the grid forces at each output position, -1 where it is free."""
    table = torch.full((grid.length,), -1)
    for position, token in grid.forced_ids():
        table[position] = token
    return table


def source_table(grid: Grid, how: str) -> Tensor:
    """``(length,)`` output position that each position copies from, -1 for a random token.

    Args:
        grid: The grid.
        how: One of ``INITIALISATIONS``.
    """
    table = torch.full((grid.length,), -1)
    up, left = {"random": (0, 0), "above": (1, 0)}.get(how, (0, 1))
    for position in grid.cell_positions() if up or left else ():
        row, column = position // grid.line - up, position % grid.line - left
        if row >= 0 and column >= 0:
            table[position] = grid.position_of(row, column)
    return table


class Initialiser:
    """Fills fresh slots of a window.

    ``random`` is a uniform image token. ``left`` is the token at the left, committed or drafted; a
    run of fresh slots copies one token; random at the start of a row. ``left_law`` is the likeliest
    token of the law that the token at the left was judged by or drawn from, where there is one.
    ``above`` is the token a row up; random in the first row.

    Args:
        grid: The grid.
        how: One of ``INITIALISATIONS``.
        image_ids: ``(codes,)`` vocabulary ids that a random token may be.

    Raises:
        ValueError: An unknown initialisation, or no image ids.
    """

    def __init__(self, grid: Grid, how: str, image_ids: Tensor) -> None:
        CHECKS["initialise"]("initialise", how)
        if not image_ids.numel():
            raise ValueError("image_ids is empty; give the vocabulary ids of the image codes")
        self._image_ids, self._sources = image_ids, source_table(grid, how)
        copies = self._sources >= 0
        distances = torch.arange(grid.length) - self._sources
        self._reach = int((distances * copies).max())  # 0: nothing is ever copied
        self.reads_laws = how == "left_law"

    def fill(
        self,
        units: Tensor,
        known: Tensor,
        positions: Tensor,
        likeliest: Tensor | None,
        state: State,
        noise: Noise,
    ) -> Tensor:
        """The window with its fresh slots filled.

        Args:
            units: ``(batch, nodes)`` tokens of the window, arbitrary where not known.
            known: ``(batch, nodes)`` bool, False for fresh slots.
            positions: ``(batch, nodes)`` output positions of the slots, consecutive in a row.
            likeliest: ``(batch, nodes + 1)`` likeliest token of the law of the last committed token
                and of each slot, -1 where there is no law; wanted if ``reads_laws``, else None.
            state: Committed tokens; read only.
            noise: Read at ``positions`` in a stream of its own.
        """
        self._to(units.device)
        pick = noise.at(_STREAM, positions) * self._image_ids.numel()
        units = torch.where(known, units, self._image_ids[pick.long()])
        if not self._reach:
            return units
        back = self._reach
        values = torch.cat([_committed(state, positions[:, :1], back), units], dim=1)
        if likeliest is not None:
            seen = values[:, back - 1 :]
            values = torch.cat(
                [values[:, : back - 1], torch.where(likeliest < 0, seen, likeliest)], dim=1
            )
        copied = values.gather(1, self._links(known, positions))[:, back:]
        return torch.where(known, units, copied)

    def _links(self, known: Tensor, positions: Tensor) -> Tensor:
        """``(batch, back + nodes)`` index, in history and window, of the token each entry shows.

        A fresh slot points at its source; where that is fresh too, at the source of that. Doubling
        the step finds the end of every such chain.
        """
        batch, nodes = positions.shape
        sources = self._sources[positions.clamp(max=self._sources.shape[0] - 1)]
        steps = torch.where(known | (sources < 0), 0, positions - sources)
        index = torch.arange(self._reach + nodes, device=positions.device)
        link = index.repeat(batch, 1)
        link[:, self._reach :] -= steps.clamp(max=self._reach)
        for _ in range(nodes.bit_length()):
            link = link.gather(1, link)
        return link

    def _to(self, device: torch.device) -> None:
        """Move the tables once."""
        if self._image_ids.device != device:
            self._image_ids = self._image_ids.to(device)
            self._sources = self._sources.to(device)


def _committed(state: State, start: Tensor, count: int) -> Tensor:
    """``(batch, count)`` tokens in front of output position ``start`` ``(batch, 1)``.

    Entries in front of the output are no image tokens; nothing links to them.
    """
    steps = torch.arange(-count, 0, device=start.device)
    places = state.prompt_lengths.unsqueeze(1) + start + steps
    return state.tokens.gather(1, places.clamp(min=0))
