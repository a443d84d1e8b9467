"""One target law, two draft laws and six code positions with hand-checked answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from image_ar.discrete.neighbours import Neighbours
from mmspec.distributions import Categorical, invert_cdf
from mmspec.messages import Draft, Evidence, Verdict
from tests.core.exactly import Rounds, Scheme

P = torch.tensor([0.30, 0.22, 0.18, 0.14, 0.10, 0.06])
Q_A = torch.tensor([0.10, 0.30, 0.05, 0.25, 0.20, 0.10])
Q_B = torch.tensor([0.05, 0.05, 0.05, 0.60, 0.15, 0.10])
POSITIONS = torch.tensor([[0, 0], [1, 0], [0, 2], [3, 0], [0, 4.5], [5, 5]])
LISTS = [
    [1, 2, 3, 4, 5],
    [0, 3, 2, 4, 5],
    [0, 1, 4, 3, 5],
    [1, 0, 2, 5, 4],
    [2, 0, 1, 5, 3],
    [4, 3, 2, 1, 0],
]


def neighbours(k_max: int = 5) -> Neighbours:
    return Neighbours.build(POSITIONS, k_max, normalize=False)


def ring(codes: int, k_max: int = 4) -> Neighbours:
    """Neighbours of codes on a spiral."""
    turn = torch.arange(codes, dtype=torch.float64)
    spiral = torch.stack([turn.cos() * turn, turn.sin() * turn], dim=1)
    return Neighbours.build(spiral, k_max, normalize=False)


def random_law(*shape: int, seed: int, sharp: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(*shape, generator=generator)).softmax(-1)


def emitted_law(rule: Any, p: Tensor, q: Tensor) -> Tensor:
    """Exact law of the first unit a round emits after a chain of one, rule as a black box."""
    scheme = Scheme([-1], [lambda token, earlier: q.double()])
    return first_unit(Rounds(rule, scheme, p.double().expand(len(p), -1), [0]).law()[0], len(p))


def first_unit(law: dict[tuple[int, ...], float], vocab: int) -> Tensor:
    masses = torch.zeros(vocab, dtype=torch.float64)
    for units, mass in law.items():
        masses[units[0]] += mass
    return masses.float()


@dataclass
class Tape:
    """Noise for very many rows from one generator."""

    generator: torch.Generator
    rows: int

    def fresh(self, stream: str, count: int) -> Tensor:
        return torch.rand(self.rows, count, generator=self.generator, dtype=torch.float64)

    def at(self, stream: str, positions: Tensor) -> Tensor:
        return torch.rand(positions.shape, generator=self.generator, dtype=torch.float64)


def chain_draft(p: Tensor, q: Tensor, seed: int, **rest: Any) -> tuple[Draft, Evidence]:
    """Chains drawn from ``q`` ``(batch, nodes, vocab)`` with evidence ``p``, one row more."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(q.shape[:-1], generator=generator, dtype=torch.float64)
    draft = Draft.chain(invert_cdf(q, numbers), Categorical(q), **rest)
    return draft, Evidence(Categorical(p), draft.tree.depths)


def same(left: Verdict, right: Verdict) -> bool:
    """Equal verdicts, bias aside."""
    fields = ("path", "accepted", "own", "corrected")
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in fields)
