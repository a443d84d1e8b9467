"""Runs of steps: one start for all pictures and a start each give the same entries."""

from __future__ import annotations

import pytest
import torch

from adapters.mar.decoding import numbers, run_of
from image_ar.continuous.chain import Chain
from image_ar.continuous.evidence import woven
from image_ar.continuous.gaussian import GaussianStep

CPU = torch.device("cpu")


@pytest.mark.parametrize("start", [0, 3, 5, 6])
def test_one_start_for_all_is_that_start_for_each(start: int) -> None:
    """Also past the end, where the last entry is repeated."""
    values = torch.arange(2 * 7 * 3).view(2, 7, 3)
    each = torch.full((2,), start)
    expected = values[:, [min(index, 6) for index in range(start, start + 3)]]
    assert torch.equal(run_of(values, start, 3), expected)
    assert torch.equal(run_of(values, each, 3), expected)
    assert torch.equal(numbers(start, 3, CPU).expand(2, -1), numbers(each, 3, CPU))


def test_rows_begin_where_they_are_told() -> None:
    values = torch.arange(14).view(2, 7)
    assert run_of(values, torch.tensor([1, 5]), 3).tolist() == [[1, 2, 3], [12, 13, 13]]


def test_chains_of_nodes_are_woven_row_by_row() -> None:
    """Rows ``(batch, group)`` of each node become rows ``(batch, nodes, group)``."""
    batch, nodes, group, width = 2, 3, 2, 4
    every = torch.randn(batch, nodes, group, width, generator=torch.Generator().manual_seed(0))
    chains = []
    for node in every.unbind(1):
        mean = node.reshape(batch * group, width)
        chains.append(Chain(GaussianStep(mean, -mean), mean.sum(-1), mean.unsqueeze(1)))
    whole = woven(chains, batch)
    assert torch.equal(whole.last.mean, every.flatten(0, 2))
    assert torch.equal(whole.last.log_std, -every.flatten(0, 2))
    assert torch.equal(whole.trail.view(batch, nodes, group), every.sum(-1))
    assert whole.states is not None
    assert torch.equal(whole.states, every.flatten(0, 2).unsqueeze(1))
    assert whole.kernels is None
