"""A target over a grid and a drafter that guesses the rest of a row or block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from image_ar.discrete.grid import Grid
from image_ar.discrete.mulo.scales import Scales
from mmspec.engine import Engine
from mmspec.messages import Draft, Plan
from mmspec.noise import Noise
from mmspec.pacing import Fixed
from mmspec.roles import Drafter, Rule
from mmspec.token_target import TokenTarget
from mmspec.trace import Trace
from tests.core.image_target import CODES, LINE, CodesOnly
from tests.core.toy import Silent, request

PROMPTS = [[1, 2, 3], [4], [5, 6]]
SCALES = Scales(Grid(3, 2), Grid(6, 4))
LINED = Scales(Grid(3, 2, line_ids=(LINE,)), Grid(6, 4, line_ids=(LINE, LINE)))


class Guess(Silent):
    """The same wrong cells every time, with the line ends where they belong."""

    def __init__(self, grid: Grid, rows: int = 2) -> None:
        self.grid, self.rows = grid, rows

    def draft(self, state: Any, plan: Plan, noise: Noise) -> Draft:
        running = zip(state.new_lengths, state.finished, strict=True)
        (start,) = {done for done, finished in running if not finished}
        tall = self.rows * self.grid.line
        end = min((start // tall + 1) * tall, self.grid.rows * self.grid.line)
        forced = dict(self.grid.forced_ids())
        units = [forced.get(place, 5 * place % CODES) for place in range(start, end - 1)]
        return Draft.chain(torch.tensor([units] * state.batch), source="guess")


def generate(
    grid: Grid, drafter: Drafter | None, rule: Rule | None, rows: int = 3, **options: Any
) -> tuple[list[list[int]], Trace]:
    """Pictures of as many rows as there are prompts, row i under seed i."""
    target = TokenTarget(CodesOnly(CODES + 1, sharp=3.0))
    engine = Engine(target)
    if drafter is not None and rule is not None:
        engine = Engine(target, drafter, rule, Fixed(Plan(1)), lookahead=64, strict=True)
    chosen = {"max_new_tokens": grid.length, "forced_ids": grid.forced_ids(), **options}
    return engine.generate(request(PROMPTS[:rows], **chosen), seeds=range(rows))


def cells_of(grid: Grid, row: Sequence[int]) -> list[int]:
    return [row[place] for place in grid.cell_positions()]
