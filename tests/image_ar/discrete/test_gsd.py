"""Grouped speculative decoding: groups, the official slice, and what windows cannot promise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from image_ar.discrete.gsd import GroupedSpeculation
from image_ar.discrete.laws import Step, acceptance_rate
from mmspec.distributions import overlap
from tests.image_ar.discrete.oracle import POSITIONS, Q_A, P, random_law


def test_a_window_can_refuse_more_than_the_exact_rule_does() -> None:
    p, q = torch.tensor([0.60, 0.25, 0.15]), torch.tensor([0.10, 0.70, 0.20])
    free = GroupedSpeculation(3, p_tol=1.0)
    assert float(free.acceptance(p, q, 0, 1.0)[2]) == pytest.approx(0.444444, abs=1e-6)
    assert float(p[2] / q[2]) == pytest.approx(0.75)


def test_a_window_can_lower_the_total_acceptance() -> None:
    p = torch.tensor([0.04, 0.001, 0.16, 0.088, 0.066, 0.604, 0.038, 0.003])
    q = torch.tensor([0.009, 0.615, 0.063, 0.033, 0.056, 0.017, 0.04, 0.167])
    step = Step(GroupedSpeculation(3, p_tol=1.0), p, q)
    assert float(acceptance_rate(step)) == pytest.approx(0.204679, abs=1e-6)
    assert float(overlap(p, q)) == pytest.approx(0.22, abs=1e-6)


@pytest.mark.parametrize("size", [2, 3, 7, 50])
def test_a_partition_never_lowers_it(size: int) -> None:
    p, q = random_law(200, 23, seed=1), random_law(200, 23, seed=2)
    step = Step(GroupedSpeculation(size, mode="partition"), p, q)
    rate = acceptance_rate(step)
    assert bool((rate >= overlap(p, q) - 1e-6).all())
    order = p.argsort(-1, descending=True)
    grouped = [
        torch.stack([part.sum(-1) for part in law.gather(-1, order).split(size, -1)], -1)
        for law in (p, q)
    ]
    assert torch.allclose(rate, overlap(*grouped), atol=1e-5)


@pytest.mark.parametrize("mode", ["window", "partition"])
def test_a_unit_that_the_target_rules_out_is_never_accepted_and_lends_nothing(mode: str) -> None:
    p = torch.tensor([0.6, 0.0, 0.4, 0.0, 0.0])
    q = torch.tensor([0.1, 0.2, 0.3, 0.3, 0.1])
    accept = GroupedSpeculation(5, p_tol=1.0, mode=mode).acceptance(p, q, 0, 1.0)  # type: ignore[arg-type]
    assert accept.tolist() == [1, 0, 1, 0, 0]


def official(p: Tensor, q: Tensor, size: int, tol: float) -> list[float]:
    """The published slice with Python's own lists."""
    order = sorted(range(len(p)), key=lambda unit: (float(p[unit]), unit))
    half, chances = size // 2, []
    for unit in range(len(p)):
        rank = order.index(unit)
        group = order[rank - half : rank + half]
        if not group:
            chances.append(min(1.0, float(p[unit] / q[unit])))
            continue
        group = [member for member in group if abs(float(p[member]) - float(p[unit])) < tol]
        mass = float(q[group].sum())
        chances.append(min(1.0, float(p[group].sum()) / mass) if mass else 0.0)
    return chances


@pytest.mark.parametrize("vocab", [6, 9, 13, 14, 15, 20, 40])
@pytest.mark.parametrize("size", [2, 5, 14])
def test_official_mode_slices_as_python_does(vocab: int, size: int) -> None:
    p, q = random_law(vocab, seed=vocab), random_law(vocab, seed=size)
    found = GroupedSpeculation(size, mode="official").acceptance(p, q, 0, 1.0)
    assert found.tolist() == pytest.approx(official(p, q, size, 0.15), abs=1e-5)


def test_official_window_is_longer_below() -> None:
    """G=2: the next less likely unit and the unit itself; the least likely has an empty slice."""
    found = GroupedSpeculation(2, mode="official").acceptance(P, Q_A, 0, 1.0)
    expected = [(0.30 + 0.22) / 0.40, 0.40 / 0.35, 0.32 / 0.30, 0.24 / 0.45, 0.16 / 0.30, 0.6]
    assert found.tolist() == pytest.approx([min(1.0, value) for value in expected], abs=1e-6)


def test_official_mode_can_accept_a_filtered_unit() -> None:
    p, q = torch.tensor([0.6, 0.3, 0.1, 0.0, 0.0, 0.0, 0.0]), torch.full((7,), 1 / 7)
    policy = GroupedSpeculation(4, mode="official")
    assert float(policy.acceptance(p, q, 0, 1.0)[6]) == pytest.approx(0.1 * 7 / 4)


def test_distance_in_a_larger_vocabulary() -> None:
    """Ids without a code are near to none; the others as without the map."""
    ids = torch.arange(2, 8)
    wide = GroupedSpeculation(3, distance_tol=5.0, codebook=POSITIONS, ids=ids)
    p, q = torch.zeros(9), torch.zeros(9)
    p[2:8], q[2:8], q[0] = P, 0.9 * Q_A, 0.1
    accept = wide.acceptance(p, q, 0, 1.0)
    expected = [0.52 / 0.36, 0.52 / 0.36, 0.18 / 0.045, 0.14 / 0.225, 0.10 / 0.18, 0.06 / 0.09]
    assert accept[2:8].tolist() == pytest.approx([min(1.0, value) for value in expected], abs=1e-6)
    assert float(accept[0]) == 0.0


@pytest.mark.parametrize(("slack", "size"), [(0.0, 1), (0.5, 6), (1.0, 11), (0.04, 1)])
def test_slack_scales_the_group(slack: float, size: int) -> None:
    assert GroupedSpeculation(11).size(slack) == size


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = random_law(3, 40, seed=1), random_law(3, 40, seed=2)
    whole = GroupedSpeculation(9).acceptance(p, q, 0, 1.0)
    monkeypatch.setattr("image_ar.discrete.gsd._CHUNK", 100)
    assert torch.equal(GroupedSpeculation(9).acceptance(p, q, 0, 1.0), whole)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="group_size must be at least 1"):
        GroupedSpeculation(0)
    with pytest.raises(ValueError, match="p_tol"):
        GroupedSpeculation(3, p_tol=-1.0)
    with pytest.raises(ValueError, match="window, partition, official"):
        GroupedSpeculation(3, mode="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a codebook"):
        GroupedSpeculation(3, distance_tol=1.0)
    with pytest.raises(ValueError, match="other than 'partition'"):
        GroupedSpeculation(3, distance_tol=1.0, codebook=POSITIONS, mode="partition")


def test_certificates() -> None:
    assert GroupedSpeculation(1).certificate.lossless
    assert GroupedSpeculation(3).certificate.kind == "lossy"
    assert "cluster" in GroupedSpeculation(3, mode="partition").residuals
    assert "cluster" not in GroupedSpeculation(3).residuals
