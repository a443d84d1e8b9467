"""Every redraw has the new law as its marginal; how often it keeps the token is known exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from image_ar.discrete.coupling import exponential_clocks, maximal_redraw, shared_redraw
from mmspec.distributions import invert_cdf, total_variation
from tests.core.toy import laws, random_laws

P = laws((0.30, 0.22, 0.18, 0.14, 0.10, 0.06))
Q = laws((0.10, 0.30, 0.05, 0.25, 0.20, 0.10))
SAMPLES = 200_000
NOISE = 4 * (0.25 / SAMPLES) ** 0.5  # four standard deviations of a share


def coupling_table(p: Tensor, q: Tensor, cells: int) -> Tensor:
    """``(old, new)`` joint law of the maximal redraw, integrated over a grid of both uniforms."""
    vocab = p.shape[-1]
    middles = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    keep, draw = (axis.reshape(1, -1) for axis in torch.meshgrid(middles, middles, indexing="ij"))
    joint = torch.zeros(vocab, vocab, dtype=torch.float64)
    shape = (1, cells * cells)
    for old in range(vocab):
        new = maximal_redraw(
            p.expand(*shape, vocab),
            q.expand(*shape, vocab),
            torch.full(shape, old),
            torch.ones(shape, dtype=torch.bool),
            keep,
            draw,
        )
        joint[old] = q[0, old] * torch.bincount(new[0], minlength=vocab) / cells**2
    return joint


def test_the_maximal_coupling_is_exact() -> None:
    joint = coupling_table(P, Q, 600)
    assert torch.allclose(joint.sum(0), P[0], atol=5e-3)
    assert torch.allclose(joint.sum(1), Q[0])
    assert float(joint.diagonal().sum()) == pytest.approx(0.67, abs=5e-3)
    assert float(total_variation(P, Q)) == pytest.approx(0.33)


def test_the_maximal_coupling_without_any_grid_error() -> None:
    """Every threshold is a multiple of a quarter, so the grid integrates the law exactly."""
    p, q = laws((0.5, 0.25, 0.25, 0.0)), laws((0.0, 0.5, 0.25, 0.25))
    joint = coupling_table(p, q, 4)
    assert torch.allclose(joint.sum(0), p[0])
    assert float(joint.diagonal().sum()) == pytest.approx(1 - float(total_variation(p, q)))


@pytest.mark.parametrize("seed", range(3))
def test_marginals_and_collisions_of_all_redraws(seed: int) -> None:
    p, q = (P, Q) if seed == 0 else (random_laws(1, 7, 2 * seed), random_laws(1, 7, 2 * seed + 1))
    generator = torch.Generator().manual_seed(seed)
    u, keep, draw, key = torch.rand(4, 1, SAMPLES, generator=generator, dtype=torch.float64)
    p_rows, q_rows = (law.expand(1, SAMPLES, -1) for law in (p, q))
    old = invert_cdf(q_rows, u)
    everywhere = torch.ones_like(old, dtype=torch.bool)
    tv = float(total_variation(p, q))
    ratio = torch.maximum(p / p.T, q / q.T).sum(1)
    same = {
        "independent": (invert_cdf(p_rows, draw), old, float((p * q).sum())),
        "maximal": (maximal_redraw(p_rows, q_rows, old, everywhere, keep, draw), old, 1 - tv),
        "shared": (
            shared_redraw(p_rows, key),
            shared_redraw(q_rows, key),
            float((1 / ratio).sum()),
        ),
    }
    for new, before, expected in same.values():
        shares = torch.bincount(new[0], minlength=p.shape[1]) / SAMPLES
        assert (shares - p[0]).abs().max() < NOISE
        assert float((new == before).double().mean()) == pytest.approx(expected, abs=NOISE)
    assert same["shared"][2] >= (1 - tv) / (1 + tv)
    if seed == 0:
        numbers = [round(expected, 6) for _, _, expected in same.values()]
        assert numbers == [0.166, 0.67, 0.644998]
        assert (1 - tv) / (1 + tv) == pytest.approx(0.503759, abs=1e-6)


def test_where_nothing_stood_the_law_alone_decides() -> None:
    p, q = P.expand(1, 3, -1), Q.expand(1, 3, -1)
    draw = laws((0.1, 0.5, 0.9))
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    units = torch.full((1, 3), 2)
    new = maximal_redraw(p, q, units, nothing, torch.zeros(1, 3), draw)
    assert torch.equal(new, invert_cdf(p, draw))


def test_equal_laws_change_nothing() -> None:
    p = random_laws(40, 9, 1).view(4, 10, 9)
    units = invert_cdf(p, torch.full((4, 10), 0.3, dtype=torch.float64))
    ones = torch.ones(4, 10)
    keep = ones.double() * (1 - 2.0**-53)
    assert torch.equal(maximal_redraw(p, p, units, ones.bool(), keep, 0.5 * ones), units)


def test_a_one_hot_old_law_needs_no_special_case() -> None:
    q = torch.zeros_like(P)
    q[0, 1] = 1
    row = torch.linspace(0, 0.999, 1000, dtype=torch.float64).unsqueeze(0)
    p, q = P.expand(1, 1000, -1), q.expand(1, 1000, -1)
    units = torch.ones(1, 1000, dtype=torch.long)
    new = maximal_redraw(p, q, units, units.bool(), row, torch.full_like(row, 0.5))
    assert float((new == 1).double().mean()) == pytest.approx(0.22, abs=2e-3)
    assert new[0, -1] != 1


def test_the_race_does_not_depend_on_the_chunk_nor_on_the_neighbours() -> None:
    p = random_laws(6, 50, 1).float().view(2, 3, 50)
    keys = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = shared_redraw(p, keys)
    for chunk in (1, 7, 50, 51):
        assert torch.equal(shared_redraw(p, keys, chunk), whole)
    assert torch.equal(shared_redraw(p[1:, 1:2], keys[1:, 1:2]), whole[1:, 1:2])


def test_the_race_never_chooses_what_cannot_be() -> None:
    p = torch.zeros(1, 5000, 4)
    p[..., 2] = 1e-30
    keys = torch.arange(5000, dtype=torch.float64).unsqueeze(0) / 5000
    assert (shared_redraw(p, keys) == 2).all()


def test_clocks_are_exponential_and_unrelated() -> None:
    state = torch.arange(300).unsqueeze(-1) << 20
    times = exponential_clocks(state, torch.arange(500))
    assert float(times.min()) > 0
    assert float(times.mean()) == pytest.approx(1, abs=0.02)
    assert float(times.var()) == pytest.approx(1, abs=0.05)
    assert times.unique().numel() == times.numel()
    for left, right in ((times[:-1], times[1:]), (times[:, :-1], times[:, 1:])):
        pair = torch.stack([left.flatten(), right.flatten()]).corrcoef()
        assert abs(float(pair[0, 1])) < 0.02
