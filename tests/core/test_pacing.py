"""Pacers against simulated costs and acceptances whose best plan is known."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from mmspec.messages import Commit, Plan
from mmspec.pacing import ConfidenceStop, CostFitted, Fixed, Plain


class Simulation:
    """Rounds of a batch whose acceptance and costs are chosen by the test."""

    def __init__(self, acceptance: float, draft_cost: float, node_cost: float, batch: int = 1):
        self.acceptance, self.draft_cost, self.node_cost = acceptance, draft_cost, node_cost
        self.state = SimpleNamespace(batch=batch)
        self.rng = random.Random(0)
        self.seconds = self.units = 0.0
        self.lengths: list[int] = []

    def round_seconds(self, length: int) -> float:
        return 1.0 + length * (self.draft_cost + self.node_cost)

    def tau(self, length: int) -> float:
        return sum(self.acceptance**d for d in range(length + 1))

    def best_rate(self, longest: int) -> float:
        return max(self.tau(n) / self.round_seconds(n) for n in range(longest + 1))

    def run(self, pacer, rounds: int) -> None:
        for _ in range(rounds):
            length = pacer.plan(self.state).length
            accepted = [self._accepted(length) for _ in range(self.state.batch)]
            seconds = self.round_seconds(length) * self.rng.uniform(0.9, 1.1)
            pacer.observe(commit_of(accepted, length), {"verify": seconds})
            self.seconds += seconds
            self.units += sum(a + 1 for a in accepted) / self.state.batch
            self.lengths.append(length)

    def _accepted(self, length: int) -> int:
        for place in range(length):
            if self.rng.random() >= self.acceptance:
                return place
        return length


def commit_of(accepted: list[int], depth: int) -> Commit:
    rows = len(accepted)
    return Commit(
        units=[[0] * (a + 1) for a in accepted],
        accepted=accepted,
        corrected=[False] * rows,
        probability=[[1.0] * (a + 1) for a in accepted],
        drafted=[depth] * rows,
        depth=depth,
        finished=[False] * rows,
        active=[True] * rows,
    )


@pytest.mark.parametrize(
    ("acceptance", "draft_cost", "node_cost"),
    [(0.9, 0.05, 0.03), (0.7, 0.10, 0.05), (0.5, 0.02, 0.02), (0.95, 0.01, 0.0)],
)
def test_cost_fitted_reaches_the_best_rate(acceptance, draft_cost, node_cost):
    simulation = Simulation(acceptance, draft_cost, node_cost)
    simulation.run(CostFitted(Plan(length=8)), rounds=1500)
    assert simulation.units / simulation.seconds > 0.95 * simulation.best_rate(8)


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_a_worthless_drafter_costs_less_than_three_percent(batch):
    simulation = Simulation(0.0, draft_cost=0.1, node_cost=0.05, batch=batch)
    pacer = CostFitted(Plan(length=6))
    simulation.run(pacer, rounds=600)
    assert simulation.units / simulation.seconds > 0.97
    assert pacer.declined
    assert pacer.predicted_speedup() < 1


def test_declines_when_drafting_is_too_dear_although_it_is_accepted():
    simulation = Simulation(0.6, draft_cost=0.9, node_cost=0.5)
    simulation.run(CostFitted(Plan(length=5)), rounds=800)
    assert simulation.units / simulation.seconds > 0.97
    assert simulation.lengths[-20:].count(0) >= 17


def test_recovers_when_the_drafter_becomes_good():
    pacer = CostFitted(Plan(length=4))
    Simulation(0.0, 0.1, 0.05).run(pacer, rounds=150)
    assert pacer.declined
    good = Simulation(0.9, 0.1, 0.05)
    good.run(pacer, rounds=1200)
    assert not pacer.declined
    assert sum(good.lengths[-50:]) > 100


def test_batch_sizes_are_booked_apart():
    pacer = CostFitted(Plan(length=4))
    Simulation(0.9, 0.02, 0.01, batch=1).run(pacer, rounds=60)
    Simulation(0.9, 0.9, 0.5, batch=16).run(pacer, rounds=60)
    assert pacer.declined
    pacer.plan(SimpleNamespace(batch=1))
    assert not pacer.declined


def test_tree_budgets_shrink_with_the_length():
    pacer = CostFitted(Plan(length=6, width=4, budget=24))
    simulation = Simulation(0.3, 0.05, 0.05)
    simulation.run(pacer, rounds=200)
    plan = pacer.plan(simulation.state)
    assert plan.length == 0 or plan.length <= plan.budget <= 24


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_no_plan_has_more_nodes_than_were_asked_for(budget):
    pacer = CostFitted(Plan(length=6, width=4, budget=budget))
    simulation = Simulation(0.9, 0.01, 0.0)
    plans = []
    for _ in range(20):
        plans.append(pacer.plan(simulation.state))
        pacer.observe(commit_of([1], 1), {"verify": 1.0})
    drafted = [plan for plan in plans if plan.length]
    assert drafted
    assert all(plan.nodes <= budget for plan in drafted)


def test_simple_pacers():
    state = SimpleNamespace(batch=1)
    assert Plain().plan(state).length == 0
    assert Fixed(Plan(length=3)).plan(state) == Plan(length=3)
    assert ConfidenceStop(5, 0.4).plan(state) == Plan(length=5, stop_below=0.4)
    with pytest.raises(ValueError, match="between 0 and 1"):
        ConfidenceStop(5, 1.4)
    with pytest.raises(ValueError, match="length=0"):
        Plan(length=-1)
    with pytest.raises(ValueError, match="length 1 or more"):
        CostFitted(Plan(length=0))
