"""The gate: one branch a run, repeatable, and with a gradient."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lm_drafting.vision import Compressed, VisualInput
from lm_drafting.vision.elastic import Elastic
from lm_drafting.vision.pooling import Pooling
from lm_drafting.vision.queries import Queries
from lm_drafting.vision.straight_through import straight_through
from tests.lm_drafting.vision.pictures import HIDDEN, alone, check_shape, make, picture

SPEC: dict[str, Any] = {
    "kind": "elastic",
    "branches": [
        {"kind": "prune"},
        {"kind": "pool"},
        {"kind": "conv"},
        {"kind": "resample", "tokens": 2, "heads": 4},
        {"kind": "text-only"},
    ],
}
SIZES = (6, 6, 6, 2, 0)
RUNS = 12


def elastic(row: int = HIDDEN) -> Elastic:
    """A gate sharp enough to use every branch on random pictures."""
    compressor = make(SPEC, row)
    assert isinstance(compressor, Elastic)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in compressor.gate.named_parameters():
            weight.normal_(0.0, 0.0 if name.endswith("bias") else 1.0, generator=generator)
    return compressor


def pictures(row: int = HIDDEN) -> VisualInput:
    return picture(24, (1, 4, 6), runs=RUNS, row=row, seed=5)


def watch(compressor: Elastic) -> list[tuple[int, int]]:
    """Filled with branch and number of runs of every call."""
    calls: list[tuple[int, int]] = []
    for index, branch in enumerate(compressor.branches):

        def note(
            module: nn.Module, seen: tuple[VisualInput], made: Compressed, index: int = index
        ) -> None:
            calls.append((index, len(seen[0].embeds)))

        branch.register_forward_hook(note)
    return calls


def gate_choices(compressor: Elastic, visual: VisualInput) -> list[int]:
    read = torch.cat([visual.question, visual.embeds.mean(1)], -1)
    return compressor.gate(read).argmax(-1).tolist()


def test_every_run_has_the_rows_of_its_branch() -> None:
    compressor, visual = elastic(), pictures()
    choices = gate_choices(compressor, visual)
    assert len(set(choices)) >= 4
    made = compressor(visual)
    check_shape(made, visual)
    assert made.counts == tuple(SIZES[choice] for choice in choices)
    for run, choice in enumerate(choices):
        own = compressor.branches[choice](alone(visual, run))
        kept = made.counts[run]
        torch.testing.assert_close(made.rows[run, :kept], own.rows[0])
        assert torch.equal(made.offsets[run, :kept], own.offsets[0])


@pytest.mark.parametrize("training", [False, True])
def test_every_run_passes_one_branch_once(training: bool) -> None:
    compressor = elastic().train(training)
    calls = watch(compressor)
    made = compressor(pictures())
    branches = [branch for branch, _ in calls]
    assert len(branches) == len(set(branches))
    assert sum(runs for _, runs in calls) == RUNS
    sizes = Counter(SIZES[branch] for branch, runs in calls for _ in range(runs))
    assert sizes == Counter(made.counts)


def test_evaluation_repeats_itself_and_batches() -> None:
    compressor, visual = elastic(), pictures()
    one, again = compressor(visual), compressor(visual)
    assert torch.equal(one.rows, again.rows)
    compressor.temperature = 0.01  # noise and temperature belong to training
    assert compressor(visual).counts == one.counts
    for run in range(RUNS):
        own = compressor(alone(visual, run))
        assert own.counts[0] == one.counts[run]
        torch.testing.assert_close(own.rows[0], one.rows[run, : own.counts[0]])


def test_training_noise_is_seeded() -> None:
    compressor, visual = elastic().train(), pictures()

    def choices(seed: int) -> tuple[int, ...]:
        compressor.gumbel = torch.Generator().manual_seed(seed)
        return tuple(compressor(visual).counts)

    assert choices(1) == choices(1)
    assert len({choices(seed) for seed in range(5)}) > 1


def test_training_draws_from_the_softmax() -> None:
    compressor = elastic().train()
    compressor.gumbel = torch.Generator().manual_seed(0)
    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5, 0.2]]).expand(4000, -1)
    soft = []
    for temperature in (1.0, 0.3):
        compressor.temperature = temperature
        drawn, weights = compressor._choose(logits)
        soft.append(weights.mean())
        shares = torch.bincount(torch.tensor(drawn), minlength=5) / len(drawn)
        torch.testing.assert_close(shares, logits[0].softmax(-1), atol=0.03, rtol=0)
    # Temperature sharpens the weights, not the law.
    assert soft[0] + 0.1 < soft[1] < 1


def test_annealing_sharpens_and_seeds() -> None:
    compressor, visual = elastic().train(), pictures()
    made = []
    for share, seed in ((0.0, 1), (0.5, 2), (1.0, 1)):
        compressor.anneal(share, seed)
        made.append((compressor.temperature, compressor(visual).counts))
    (first, one), (middle, two), (last, three) = made
    assert (first, last) == (1.0, pytest.approx(0.3))
    assert last < middle < first
    assert one == three != two


@pytest.mark.parametrize("index", range(4))
def test_gate_learns_through_the_rows(index: int) -> None:
    compressor = elastic().train()
    compressor.force = index
    compressor(pictures()).rows.square().sum().backward()
    for weight in compressor.gate.parameters():
        assert weight.grad is not None
        assert weight.grad.norm() > 0


def test_gate_learns_to_drop_pictures_through_the_cost_alone() -> None:
    compressor = elastic().train()
    compressor.force = 4
    made = compressor(pictures())
    made.rows.sum().backward(retain_graph=True)
    assert not any(
        weight.grad is not None and weight.grad.any() for weight in compressor.parameters()
    )
    made.cost.backward()
    assert all(weight.grad.norm() > 0 for weight in compressor.gate.parameters())


def test_cost_is_the_expected_share() -> None:
    compressor, visual = elastic(), pictures()
    read = torch.cat([visual.question, visual.embeds.mean(1)], -1)
    soft = compressor.gate(read).softmax(-1)
    expected = sum(soft[:, index].mean() * size / 24 for index, size in enumerate(SIZES))
    cost = compressor(visual).cost
    torch.testing.assert_close(cost, torch.as_tensor(expected))


def test_descending_the_cost_keeps_fewer_rows() -> None:
    compressor, visual = elastic(), pictures()
    before = sum(compressor(visual).counts)
    weights = list(compressor.gate.parameters())
    for _ in range(30):
        steps = torch.autograd.grad(compressor(visual).cost, weights)
        with torch.no_grad():
            for weight, step in zip(weights, steps, strict=True):
                weight.sub_(step)
    assert sum(compressor(visual).counts) < before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_straight_through_changes_no_bit(dtype: torch.dtype) -> None:
    rows = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    weight = torch.rand(1000, generator=torch.Generator().manual_seed(1)).requires_grad_()
    out = straight_through(rows, weight)
    assert torch.equal(out, rows)
    out.sum().backward()
    torch.testing.assert_close(weight.grad, rows.float())
    # Weighing and adding back what the weight took has the same gradient, but rounds.
    weighed = rows * weight.to(dtype)
    assert not torch.equal(weighed + (rows - weighed).detach(), rows)


def test_force_picks_the_branch() -> None:
    compressor, visual = elastic(), pictures()
    for training in (False, True):
        compressor.train(training)
        for index, size in enumerate(SIZES):
            compressor.force = index
            assert compressor(visual).counts == (size,) * RUNS


def test_rows_wider_than_embeddings() -> None:
    compressor, visual = elastic(row=24), pictures(row=24)
    compressor.force = 3
    made = compressor(visual)
    assert made.rows.shape == (RUNS, 2, 24)
    torch.testing.assert_close(made.rows, compressor.widen(compressor.branches[3](visual).rows))


def test_gate_starts_without_preference() -> None:
    compressor = elastic()
    compressor.reset_parameters(torch.Generator().manual_seed(0))
    cost = compressor(pictures()).cost
    torch.testing.assert_close(cost, torch.tensor(sum(SIZES) / 24 / 5))


def test_a_picture_too_small_for_any_branch_is_refused() -> None:
    visual = replace(picture(1, (1, 1, 1)), question=torch.zeros(1, HIDDEN))
    with pytest.raises(ValueError, match="no place"):
        elastic()(visual)


def test_branches_it_cannot_choose() -> None:
    with pytest.raises(ValueError, match=r"\['Queries', 'NoneType'\]"):
        Elastic([Pooling(), Queries(HIDDEN), None], HIDDEN, HIDDEN)
    with pytest.raises(ValueError, match="at least one branch"):
        Elastic([], HIDDEN, HIDDEN)
