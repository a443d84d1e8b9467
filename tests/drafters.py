"""Drafters that need no training: perfect, wrong, random, malformed.

``DRAFTERS`` maps a name to a recipe; a real drafter joins every test that is parametrised over it
by adding an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmspec.engine import Engine
from mmspec.guard import NoDraft
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.pacing import Fixed, Plain
from mmspec.roles import Drafter
from mmspec.state import State
from mmspec.token_target import TokenTarget
from mmspec.trees import Tree

Reference = Sequence[Sequence[int]]  # the true new tokens of every row


class Fake:
    """Base of the fakes: knows the true continuation of every row."""

    name = "fake"

    def __init__(self, reference: Reference, vocab: int, seed: int = 0) -> None:
        self.reference = [list(row) for row in reference]
        self.vocab = vocab
        self.random = torch.Generator().manual_seed(seed)

    def truth(self, state: State, count: int) -> Tensor:
        """``(batch, count)`` the tokens plain decoding would give next; token 0 past the end."""
        rows = []
        for row, done in zip(self.reference, state.new_lengths, strict=True):
            rows.append((row[done:] + [0] * count)[:count])
        return torch.tensor(rows)

    def wrong(self, units: Tensor) -> Tensor:
        """Other tokens than ``units``, all in the vocabulary."""
        shift = torch.randint(1, self.vocab, units.shape, generator=self.random)
        return (units + shift) % self.vocab

    def chance(self, shape: Sequence[int], share: float) -> Tensor:
        return torch.rand(*shape, generator=self.random) < share

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        raise NotImplementedError

    def observe(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        pass

    def reset(self) -> None:
        pass


class Oracle(Fake):
    """Always right."""

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        return Draft.chain(self.truth(state, plan.length))


class Adversary(Fake):
    """Always wrong."""

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        return Draft.chain(self.wrong(self.truth(state, plan.length)))


class Flaky(Fake):
    """Right with probability 0.7 a token; rows of different validity."""

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        truth = self.truth(state, plan.length)
        units = torch.where(self.chance(truth.shape, 0.7), truth, self.wrong(truth))
        ends = torch.randint(0, plan.length + 1, (state.batch, 1), generator=self.random)
        return Draft.chain(units, valid=torch.arange(plan.length) < ends)


class Bush(Fake):
    """Random trees, another one in every row, with the true branch somewhere in them."""

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        nodes, depth = plan.budget, plan.length
        truth = self.truth(state, depth)
        parents = torch.zeros(state.batch, nodes, dtype=torch.long)
        units = torch.zeros_like(parents)
        for row in range(state.batch):
            depths: list[int] = []
            for node in range(nodes):
                open_nodes = [-1] + [n for n in range(node) if depths[n] < depth]
                pick = int(torch.randint(len(open_nodes), (1,), generator=self.random))
                # Half of the nodes hang on the newest open one, which makes deep branches.
                parent = open_nodes[-1] if self.chance((1,), 0.5) else open_nodes[pick]
                level = 0 if parent < 0 else depths[parent]
                depths.append(level + 1)
                parents[row, node] = parent
                true = truth[row, level]
                units[row, node] = true if self.chance((1,), 0.6) else self.wrong(true[None])[0]
        return Draft(_distinct(units, parents, self.vocab), Tree(parents, depth))


class Static(Fake):
    """A fixed tree whose second branch is the true one."""

    PATHS = ((0,), (1,), (0, 0), (1, 0), (1, 1), (0, 0, 0), (1, 1, 0))
    TRUE = ((1,), (1, 1), (1, 1, 0))

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        truth = self.truth(state, 3)
        columns = []
        for path in sorted(self.PATHS, key=lambda path: (len(path), path)):
            right = truth[:, len(path) - 1]
            columns.append(right if path in self.TRUE else (right + 1 + path[-1]) % self.vocab)
        return Draft(torch.stack(columns, dim=1), Tree.static(self.PATHS, state.batch))


class Foreign(Fake):
    """Right at first, then ids that no vocabulary holds."""

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        units = self.truth(state, plan.length)
        units[:, 2:] = torch.tensor([self.vocab, -1, 10**9])[: plan.length - 2]
        return Draft.chain(units)


class Failing(Fake):
    """Raises in its third round."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rounds = 0

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        self.rounds += 1
        if self.rounds > 2:
            raise RuntimeError("out of ideas")
        return Draft.chain(self.truth(state, plan.length))


def _distinct(units: Tensor, parents: Tensor, vocab: int) -> Tensor:
    """Siblings must differ: count repeated ones up until they do."""
    for row in range(units.shape[0]):
        for node in range(units.shape[1]):
            mine = [
                int(units[row, n]) for n in range(node) if parents[row, n] == parents[row, node]
            ]
            while int(units[row, node]) in mine:
                units[row, node] = (units[row, node] + 1) % vocab
    return units


CHAIN = Plan(length=4)


@dataclass(frozen=True)
class Recipe:
    """How to make a drafter for a target, and the plan it is run with.

    Attributes:
        make: From the target and the reference of every row to a drafter.
        plan: Fixed plan of every round.
    """

    make: Callable[[TokenTarget, Reference], Drafter]
    plan: Plan = CHAIN

    def engine(self, target: TokenTarget, reference: Reference, strict: bool = True) -> Engine:
        """An engine with a new drafter."""
        pacer = Fixed(self.plan) if self.plan.length else Plain()
        return Engine(
            target,
            self.make(target, reference),
            pacer=pacer,
            lookahead=self.plan.nodes,
            strict=strict,
        )


def _fake(kind: type[Fake]) -> Callable[[TokenTarget, Reference], Drafter]:
    return lambda target, reference: kind(reference, target.decoder.vocab_size)


DRAFTERS: dict[str, Recipe] = {
    "none": Recipe(lambda target, reference: NoDraft(), Plan(length=0)),
    "oracle": Recipe(_fake(Oracle)),
    "adversary": Recipe(_fake(Adversary)),
    "flaky": Recipe(_fake(Flaky), Plan(length=5)),
    "bush": Recipe(_fake(Bush), Plan(length=4, width=3, budget=9)),
    "static": Recipe(_fake(Static), Plan(length=3, width=2, budget=7)),
    "overlong": Recipe(_fake(Oracle), Plan(length=40)),
    "foreign": Recipe(_fake(Foreign), Plan(length=5)),
}
