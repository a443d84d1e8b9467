"""Exact output laws of rules: no sampling, so a wrong rule has nowhere to hide.

A rule is a function of a draft, evidence and uniform numbers, and a piecewise constant one in every
uniform. The break points are found by bisection on the rule itself, as a black box, with all other
uniforms at their extremes; the law is then the sum over cells of (width of the cell) x (verdict at
its middle). Random points check that no break point was missed.

Rounds use fresh numbers, so a law of one round for every last token gives the law of whole strings
by recursion.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from mmspec.distributions import Categorical
from mmspec.messages import Draft, Evidence
from mmspec.token_target import _emission
from mmspec.trees import Tree

NEARLY_ONE = 1.0 - 2.0**-40
String = tuple[int, ...]
# (token of the parent, tokens of earlier siblings) -> law the next sibling is drawn from
NodeLaw = Callable[[int, Sequence[int]], Tensor]


class FixedNoise:
    """Numbers given beforehand: ``accept`` has a column a node, ``residual`` the last one."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers

    def fresh(self, stream: str, count: int) -> Tensor:
        return self.numbers[:, :count] if stream == "accept" else self.numbers[:, -1:]

    def at(self, stream: str, positions: Tensor) -> Tensor:
        return self.numbers[:, -1:].expand(-1, positions.shape[1])


@dataclass
class Scheme:
    """How a round drafts: a tree whose nodes are drawn from ``drawn`` and recorded as ``recorded``.

    ``keep`` decides from the units which nodes are submitted; None submits all.
    """

    parents: Sequence[int]
    drawn: Sequence[NodeLaw]
    recorded: Sequence[NodeLaw] | None = None
    keep: Callable[[Sequence[int]], Sequence[bool]] | None = None

    @property
    def tree(self) -> Tree:
        depth, deepest = {-1: 0}, 0
        for node, parent in enumerate(self.parents):
            depth[node] = depth[parent] + 1
            deepest = max(deepest, depth[node])
        chain = list(self.parents) == list(range(-1, len(self.parents) - 1))
        return Tree(torch.tensor([list(self.parents)]), deepest, is_chain=chain)


def outcomes(scheme: Scheme, last: int) -> tuple[list[list[int]], list[float], list[list[Tensor]]]:
    """Every draft after token ``last``, its probability and the recorded laws of its nodes."""
    recorded = scheme.recorded or scheme.drawn
    found: list[tuple[list[int], float, list[Tensor]]] = [([], 1.0, [])]
    for node, parent in enumerate(scheme.parents):
        grown = []
        for units, weight, rows in found:
            token = last if parent < 0 else units[parent]
            earlier = [units[n] for n in range(node) if scheme.parents[n] == parent]
            law = scheme.drawn[node](token, earlier)
            written = recorded[node](token, earlier)
            for unit, mass in enumerate(law.tolist()):
                if mass > 0:
                    grown.append(([*units, unit], weight * mass, [*rows, written]))
        found = grown
    units_list, weights, laws = zip(*found, strict=True)
    return list(units_list), list(weights), list(laws)


class Rounds:
    """Every draft after every last token, as rows that a rule can judge at chosen uniforms."""

    def __init__(self, rule: Any, scheme: Scheme, table: Tensor, lasts: Sequence[int]) -> None:
        units, weights, laws, self.last = [], [], [], []
        for last in lasts:
            some, chances, rows = outcomes(scheme, last)
            units += some
            weights += chances
            laws += rows
            self.last += [last] * len(some)
        self.rule, self.weights = rule, torch.tensor(weights, dtype=torch.float64)
        self.units = torch.tensor(units)
        self.count, self.nodes = self.units.shape
        self.tree = scheme.tree
        self.q = torch.stack([torch.stack(rows) for rows in laws]).float()
        tokens = torch.cat([torch.tensor(self.last).unsqueeze(1), self.units], dim=1)
        self.p = table[tokens].float()
        self.valid = None
        if scheme.keep is not None:
            self.valid = torch.tensor([list(scheme.keep(row)) for row in units])

    def judge(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Verdicts as integer rows: path, accepted, own, corrected, then the emitted units."""
        tree = Tree(
            self.tree.parents.expand(len(rows), -1), self.tree.max_depth, self.tree.is_chain
        )
        valid = None if self.valid is None else self.valid[rows]
        draft = Draft(self.units[rows], tree, Categorical(self.q[rows]), valid=valid)
        evidence = Evidence(Categorical(self.p[rows]), tree.depths)
        verdict = self.rule.judge(draft, evidence, FixedNoise(numbers))
        emitted, _ = _emission(draft, evidence, verdict)
        head = [verdict.accepted, verdict.own, verdict.corrected.long()]
        return torch.cat([verdict.path, torch.stack(head, dim=1), emitted], dim=1)

    def breaks(self) -> list[list[list[float]]]:
        """Break points of every draft and coordinate inside (0, 1)."""
        size = self.nodes + 1
        found: list[list[set[float]]] = [[set() for _ in range(size)] for _ in range(self.count)]
        rows, bases, axes = [], [], []
        for axis in range(size):
            others = [c for c in range(self.nodes) if c != axis]
            for corner in product((0.0, NEARLY_ONE), repeat=len(others)):
                base = torch.full((size,), 0.5, dtype=torch.float64)
                base[others] = torch.tensor(corner, dtype=torch.float64)
                rows += range(self.count)
                bases += [base] * self.count
                axes += [axis] * self.count
        for row, axis, at in self._bisect(
            torch.tensor(rows), torch.stack(bases), torch.tensor(axes)
        ):
            found[row][axis].add(round(at, 10))
        return [[sorted(axis) for axis in draft] for draft in found]

    def _bisect(self, rows: Tensor, numbers: Tensor, axes: Tensor) -> list[tuple[int, int, float]]:
        """Where verdicts change along an axis; each verdict holds on one interval of it."""
        found: list[tuple[int, int, float]] = []
        low = torch.zeros(len(rows), dtype=torch.float64)
        end = self._at(rows, numbers, axes, torch.full_like(low, NEARLY_ONE))
        while True:
            first = self._at(rows, numbers, axes, low)
            moved = (first != end).any(1)
            if not moved.any():
                return found
            rows, numbers, axes = rows[moved], numbers[moved], axes[moved]
            first, end = first[moved], end[moved]
            left, right = low[moved], torch.full((len(rows),), NEARLY_ONE, dtype=torch.float64)
            for _ in range(40):
                middle = (left + right) / 2
                same = (self._at(rows, numbers, axes, middle) == first).all(1)
                left, right = torch.where(same, middle, left), torch.where(same, right, middle)
            found += zip(rows.tolist(), axes.tolist(), right.tolist(), strict=True)
            low = right

    def _at(self, rows: Tensor, numbers: Tensor, axes: Tensor, value: Tensor) -> Tensor:
        return self.judge(rows, numbers.scatter(1, axes.unsqueeze(1), value.unsqueeze(1)))

    def law(self) -> dict[int, dict[String, float]]:
        """For every last token the law of the units that the round emits."""
        rows, points, weights = [], [], []
        cells = [[_cells(axis) for axis in draft] for draft in self.breaks()]
        for row, axes in enumerate(cells):
            for cell in product(*axes):
                rows.append(row)
                points.append([middle for middle, _ in cell])
                widths = torch.tensor([width for _, width in cell], dtype=torch.float64)
                weights.append(float(widths.prod() * self.weights[row]))
        verdicts = self.judge(
            torch.tensor(rows), torch.tensor(points, dtype=torch.float64)
        ).tolist()
        self._check(cells)
        law: dict[int, dict[String, float]] = {last: defaultdict(float) for last in self.last}
        depth = self.tree.max_depth
        for row, verdict, weight in zip(rows, verdicts, weights, strict=True):
            law[self.last[row]][tuple(verdict[depth + 3 :][: verdict[depth] + 1])] += weight
        return law

    def _check(self, cells: list[list[list[tuple[float, float]]]], points: int = 1000) -> None:
        """Random points must agree with the middle of their cell."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(self.count, (points,), generator=generator)
        numbers = torch.rand(points, self.nodes + 1, generator=generator, dtype=torch.float64)
        middles = numbers.clone()
        for index, row in enumerate(rows.tolist()):
            for axis, spans in enumerate(cells[row]):
                value = float(numbers[index, axis])
                middles[index, axis] = min(
                    spans, key=lambda span: abs(span[0] - value) - span[1] / 2
                )[0]
        differ = (self.judge(rows, numbers) != self.judge(rows, middles)).any(1)
        assert not differ.any(), f"{int(differ.sum())} of {points} points: a break point was missed"


def _cells(breaks: list[float]) -> list[tuple[float, float]]:
    """(middle, width) of the cells between break points that are really apart."""
    edges = [0.0]
    for at in breaks:
        if 1e-7 < at < 1 - 1e-7 and at - edges[-1] > 1e-7:
            edges.append(at)
    edges.append(1.0)
    return [((a + b) / 2, b - a) for a, b in pairwise(edges)]


def string_law(
    rule: Any, scheme: Scheme, table: Tensor, first: int, length: int
) -> dict[String, float]:
    """Law of the first ``length`` units after token ``first``, any number of rounds."""
    rounds = Rounds(rule, scheme, table, range(table.shape[0])).law()
    done: dict[String, float] = defaultdict(float)
    open_strings: dict[String, float] = {(): 1.0}
    while open_strings:
        grown: dict[String, float] = defaultdict(float)
        for string, mass in open_strings.items():
            last = string[-1] if string else first
            for units, chance in rounds[last].items():
                longer = string + units
                target = done if len(longer) >= length else grown
                target[longer[:length]] += mass * chance
        open_strings = grown
    return done


def acceptance(rule: Any, scheme: Scheme, table: Tensor, last: int) -> float:
    """Probability that a round after token ``last`` keeps at least one drafted unit."""
    law = Rounds(rule, scheme, table, [last]).law()[last]
    return sum(mass for units, mass in law.items() if len(units) > 1)


def ancestral_law(table: Tensor, first: int, length: int) -> dict[String, float]:
    """Law of ``length`` units of the target's Markov chain after token ``first``."""
    law = {(): 1.0}
    for _ in range(length):
        law = {
            (*string, unit): mass * chance
            for string, mass in law.items()
            for unit, chance in enumerate(table[string[-1] if string else first].tolist())
            if mass * chance > 0
        }
    return law


def distance(left: dict[String, float], right: dict[String, float]) -> float:
    """Largest difference of two laws at any string."""
    keys = set(left) | set(right)
    return max(abs(left.get(key, 0.0) - right.get(key, 0.0)) for key in keys)
