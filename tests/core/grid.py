"""Noise that is a whole grid: one row for every combination of uniforms, through the real loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmspec.loop import speculate
from mmspec.messages import Plan
from mmspec.pacing import Fixed
from mmspec.token_target import TokenTarget
from mmspec.trace import Trace
from tests.core.exactly import String
from tests.core.toy import MarkovDecoder, request


class GridNoise:
    """Rows enumerate the middles of the cells of a product grid.

    Laws whose every threshold is a multiple of the grid's steps are integrated without error.

    Args:
        tape: Cells of every position of the ``target`` stream.
        fresh: For every stream the cells of the numbers it hands out, in order.
    """

    def __init__(self, tape: Sequence[int], fresh: dict[str, Sequence[int]] | None = None) -> None:
        sizes = [*tape, *(size for numbers in (fresh or {}).values() for size in numbers)]
        rows = 1
        for size in sizes:
            rows *= size
        self.rows, index = rows, torch.arange(rows)
        columns = []
        for size in sizes:
            columns.append(((index % size).double() + 0.5) / size)
            index = index // size
        self.tape = torch.stack(columns[: len(tape)], dim=1)
        self.left: dict[str, list[Tensor]] = {}
        at = len(tape)
        for stream, numbers in (fresh or {}).items():
            self.left[stream] = columns[at : at + len(numbers)]
            at += len(numbers)

    def at(self, stream: str, positions: Tensor) -> Tensor:
        return self.tape.gather(1, positions.clamp(max=self.tape.shape[1] - 1))

    def fresh(self, stream: str, count: int) -> Tensor:
        """The next columns; once they are used up every row that matters is complete."""
        columns = [self.left[stream].pop(0) for _ in range(min(count, len(self.left[stream])))]
        columns += [torch.full((self.rows,), 0.5, dtype=torch.float64)] * (count - len(columns))
        return torch.stack(columns, dim=1)


def loop_outputs(
    table: Tensor, drafter: Any, rule: Any, plan: Plan, noise: Any, rows: int, length: int
) -> list[list[int]]:
    """Outputs of the real loop at temperature 1, one row for every row of the noise."""
    trace = Trace()
    trace.begin(rows)
    outputs: list[list[int]] = [[] for _ in range(rows)]
    asked = request([[0]] * rows, max_new_tokens=length, temperature=1, lookahead=plan.nodes)
    target = TokenTarget(MarkovDecoder(table))
    for commit in speculate(target, drafter, rule, Fixed(plan), asked, noise, trace):
        for output, units in zip(outputs, commit.units, strict=True):
            output.extend(units)
    return outputs


def shares(outputs: list[list[int]]) -> dict[String, float]:
    """The law of the outputs when all rows weigh the same."""
    law: dict[String, float] = defaultdict(float)
    for output in outputs:
        law[tuple(output)] += 1 / len(outputs)
    return law
