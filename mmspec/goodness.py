"""Tests of sampled units against laws that change from sample to sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_EXPECTED = 5.0
RANK_BINS = 10


@dataclass(frozen=True)
class TestResult:
    """One chi-square test.

    Attributes:
        name: What was tested.
        samples: Units it is based on.
        statistic: Pearson's sum.
        freedom: Degrees of freedom.
        p_value: Chance of a sum this large when the law is right.
    """

    __test__ = False  # the name is no invitation to pytest

    name: str
    samples: int
    statistic: float
    freedom: int
    p_value: float


def chi_square(name: str, observed: Tensor, expected: Tensor) -> TestResult:
    """Pearson's test; categories expected fewer than five times share a bin.

    Args:
        name: What is tested.
        observed: Counts.
        expected: Expected counts, same sum.
    """
    samples = round(float(observed.sum()))
    order = expected.argsort(descending=True)
    observed, expected = observed[order].double(), expected[order].double()
    large = expected >= LEAST_EXPECTED
    seen = torch.cat([observed[large], observed[~large].sum().view(1)])
    mass = torch.cat([expected[large], expected[~large].sum().view(1)])
    if len(mass) > 1 and mass[-1] < LEAST_EXPECTED:
        seen = torch.cat([seen[:-2], seen[-2:].sum().view(1)])
        mass = torch.cat([mass[:-2], mass[-2:].sum().view(1)])
    freedom = len(mass) - 1
    if freedom < 1:
        return TestResult(name, samples, 0.0, 0, 1.0)
    statistic = ((seen - mass).square() / mass).sum()
    tail = torch.special.gammaincc(torch.tensor(freedom / 2).double(), statistic / 2)
    return TestResult(name, samples, float(statistic), freedom, float(tail))


class Pool:
    """Units drawn at one output position, each under a law of its own.

    Two tests. *Units* compares how often each unit came with the sum of its probabilities; the true
    variance is never above the multinomial one, so its p-values err on the careful side. *Ranks*
    places each unit on ``[0, 1)`` by the mass of likelier units: uniform exactly when units follow
    their laws, whatever those are, and shifted by rules that favour likely units.

    Args:
        name: What the units have in common.
        generator: Breaks ties within a rank.
    """

    def __init__(self, name: str, generator: torch.Generator) -> None:
        self.name, self.generator = name, generator
        self.count = 0
        self.impossible = 0
        self._observed: Tensor | None = None
        self._expected: Tensor | None = None
        self._ranks = torch.zeros(RANK_BINS, dtype=torch.float64)

    def add(self, probs: Tensor, units: Tensor) -> None:
        """Take in units ``(rows,)`` and the laws they should follow ``(rows, vocab)``."""
        probs = probs.double()
        if self._observed is None or self._expected is None:
            self._observed, self._expected = torch.zeros(2, probs.shape[1], dtype=torch.float64)
        self._observed += torch.bincount(units, minlength=probs.shape[1])
        self._expected += probs.sum(0)
        own = probs.gather(1, units.unsqueeze(1))
        self.count += len(units)
        self.impossible += int((own == 0).sum())
        above = torch.where(probs > own, probs, 0.0).sum(1)
        level = torch.where(probs == own, probs, 0.0).sum(1)
        place = above + level * torch.rand(
            len(units), generator=self.generator, dtype=torch.float64
        )
        bins = (place * RANK_BINS).long().clamp(0, RANK_BINS - 1)
        self._ranks += torch.bincount(bins, minlength=RANK_BINS)

    def tests(self) -> list[TestResult]:
        """The tests that there are enough units for."""
        if self._observed is None or self._expected is None or self.count < 20:
            return []
        even = torch.full_like(self._ranks, self.count / RANK_BINS)
        return [
            chi_square(f"{self.name}, units", self._observed, self._expected),
            chi_square(f"{self.name}, ranks", self._ranks, even),
        ]
