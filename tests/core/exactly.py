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
from itertools import product
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
    """Numbers given beforehand: one column a drafted node for ``accept``, the last for ``residual``."""

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


class Round:
    """All drafts of one round as rows that a rule can judge at chosen uniforms."""

    def __init__(self, rule: Any, scheme: Scheme, table: Tensor, last: int) -> None:
        units, weights, laws = outcomes(scheme, last)
        self.rule, self.weights = rule, torch.tensor(weights, dtype=torch.float64)
        self.units = torch.tensor(units)
        self.count, self.nodes = self.units.shape
        self.tree = scheme.tree
        self.q = torch.stack([torch.stack(rows) for rows in laws]).float()
        tokens = torch.cat([torch.full((self.count, 1), last), self.units], dim=1)
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
        for axis in range(size):
            scan = [0.0, NEARLY_ONE]
            if axis == self.nodes:
                scan = [0.0, *[(i + 0.5) / 40 for i in range(40)], NEARLY_ONE]
            others = [c for c in range(size) if c not in (axis, self.nodes)]
            bases = torch.full((2 ** len(others), size), 0.5, dtype=torch.float64)
            for index, corner in enumerate(product((0.0, NEARLY_ONE), repeat=len(others))):
                for column, value in zip(others, corner, strict=True):
                    bases[index, column] = value
            rows = torch.arange(self.count).repeat_interleave(len(bases))
            numbers = bases.repeat(self.count, 1)
            for low, high in zip(scan, scan[1:], strict=False):
                for row, at in self._bisect(rows, numbers, axis, low, high):
                    found[row][axis].add(round(at, 10))
        return [[sorted(axis) for axis in draft] for draft in found]

    def _bisect(
        self, rows: Tensor, numbers: Tensor, axis: int, low: float, high: float
    ) -> list[tuple[int, float]]:
        """Where verdicts change between ``low`` and ``high``, assuming one change at most."""
        first = self._at(rows, numbers, axis, torch.full((len(rows),), low, dtype=torch.float64))
        last = self._at(rows, numbers, axis, torch.full((len(rows),), high, dtype=torch.float64))
        moved = (first != last).any(1)
        rows, numbers, first = rows[moved], numbers[moved], first[moved]
        if not len(rows):
            return []
        left = torch.full((len(rows),), low, dtype=torch.float64)
        right = torch.full((len(rows),), high, dtype=torch.float64)
        for _ in range(40):
            middle = (left + right) / 2
            same = (self._at(rows, numbers, axis, middle) == first).all(1)
            left, right = torch.where(same, middle, left), torch.where(same, right, middle)
        return list(zip(rows.tolist(), right.tolist(), strict=True))

    def _at(self, rows: Tensor, numbers: Tensor, axis: int, value: Tensor) -> Tensor:
        numbers = numbers.clone()
        numbers[:, axis] = value
        return self.judge(rows, numbers)

    def law(self) -> dict[String, float]:
        """The law of the units that the round emits."""
        rows, points, weights = [], [], []
        cells = [[_cells(axis) for axis in draft] for draft in self.breaks()]
        for row, axes in enumerate(cells):
            for cell in product(*axes):
                rows.append(row)
                points.append([middle for middle, _ in cell])
                widths = torch.tensor([width for _, width in cell], dtype=torch.float64)
                weights.append(float(widths.prod() * self.weights[row]))
        verdicts = self.judge(torch.tensor(rows), torch.tensor(points, dtype=torch.float64)).tolist()
        self._check(cells)
        law: dict[String, float] = defaultdict(float)
        depth = self.tree.max_depth
        for verdict, weight in zip(verdicts, weights, strict=True):
            law[tuple(verdict[depth + 3 :][: verdict[depth] + 1])] += weight
        return law

    def acceptance(self) -> float:
        """Probability that the round keeps at least one drafted unit."""
        return sum(mass for units, mass in self.law().items() if len(units) > 1)

    def _check(self, cells: list[list[list[tuple[float, float]]]], points: int = 4000) -> None:
        """Random points must agree with the middle of their cell."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(self.count, (points,), generator=generator)
        numbers = torch.rand(points, self.nodes + 1, generator=generator, dtype=torch.float64)
        middles = numbers.clone()
        for index, row in enumerate(rows.tolist()):
            for axis, spans in enumerate(cells[row]):
                value = float(numbers[index, axis])
                middles[index, axis] = min(spans, key=lambda span: abs(span[0] - value) - span[1] / 2)[0]
        differ = (self.judge(rows, numbers) != self.judge(rows, middles)).any(1)
        assert not differ.any(), f"{int(differ.sum())} of {points} points: a break point was missed"


def _cells(breaks: list[float]) -> list[tuple[float, float]]:
    """(middle, width) of the cells between break points that are really apart."""
    edges = [0.0]
    for at in breaks:
        if 1e-7 < at < 1 - 1e-7 and at - edges[-1] > 1e-7:
            edges.append(at)
    edges.append(1.0)
    return [((a + b) / 2, b - a) for a, b in zip(edges, edges[1:], strict=False)]


def string_law(rule: Any, scheme: Scheme, table: Tensor, first: int, length: int) -> dict[String, float]:
    """Law of the first ``length`` units after token ``first``, any number of rounds."""
    rounds: dict[int, dict[String, float]] = {}
    done: dict[String, float] = defaultdict(float)
    open_strings: dict[String, float] = {(): 1.0}
    while open_strings:
        grown: dict[String, float] = defaultdict(float)
        for string, mass in open_strings.items():
            last = string[-1] if string else first
            if last not in rounds:
                rounds[last] = Round(rule, scheme, table, last).law()
            for units, chance in rounds[last].items():
                longer = string + units
                target = done if len(longer) >= length else grown
                target[longer[:length]] += mass * chance
        open_strings = grown
    return done


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

