"""Numbers of tokens a step, orders, and the strength of guidance."""

from __future__ import annotations

import pytest
import torch

from adapters.mar.schedule import cosine_sizes, guidance_scale, random_orders, unknown_after

WHOLE = {
    (256, 8): [5, 15, 24, 31, 39, 45, 48, 49],
    (256, 4): [20, 55, 84, 97],
    (16, 8): [1, 1, 1, 2, 3, 2, 3, 3],
    (16, 4): [2, 3, 5, 6],
    (256, 1): [256],
    (256, 256): [1] * 256,
}
ENDS = {
    16: ([2, 3, 7, 8, 11, 13], [23, 25, 24, 25]),
    32: ([1, 1, 1, 2, 3, 4], [12, 12, 13, 12]),
    64: ([1, 1], [7, 6, 6, 6]),
    128: ([1, 1], [3, 3]),
}
MOST = {64: 7, 128: 4}


@pytest.mark.parametrize(("cells", "steps"), WHOLE)
def test_sizes_of_all_steps(cells: int, steps: int) -> None:
    assert cosine_sizes(cells, steps) == WHOLE[cells, steps]


@pytest.mark.parametrize("steps", ENDS)
def test_sizes_at_both_ends(steps: int) -> None:
    sizes = cosine_sizes(256, steps)
    first, last = ENDS[steps]
    assert sizes[: len(first)] == first
    assert sizes[-len(last) :] == last
    assert max(sizes) == MOST.get(steps, max(sizes))


def test_every_step_reveals_something() -> None:
    for cells in (1, 2, 7, 64):
        for steps in range(1, cells + 1):
            sizes = cosine_sizes(cells, steps)
            assert len(sizes) == steps
            assert sum(sizes) == cells
            assert min(sizes) >= 1


@pytest.mark.parametrize("steps", [0, 17])
def test_more_steps_than_tokens_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and the 16 tokens of a picture, got {steps}"):
        cosine_sizes(16, steps)


def test_orders_are_uniform_permutations() -> None:
    uniforms = torch.rand(24_000, 4, generator=torch.Generator().manual_seed(0))
    orders = random_orders(uniforms)
    assert torch.equal(orders.sort(1).values, torch.arange(4).expand(24_000, 4))
    counts = (orders * torch.tensor([64, 16, 4, 1])).sum(1).bincount(minlength=256)
    counts = counts[counts > 0].double()
    assert len(counts) == 24
    # Chi-square of 23 degrees of freedom: 49.7 is passed once in a thousand.
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 49.7
    assert torch.equal(random_orders(uniforms[5:6]), orders[5:6])


def test_the_start_of_an_order_is_unknown_longest() -> None:
    orders = torch.tensor([[2, 0, 1], [1, 2, 0]])
    assert unknown_after(orders, 2).tolist() == [[True, False, True], [False, True, True]]
    mixed = unknown_after(orders, torch.tensor([0, 1]))
    assert mixed.tolist() == [[False] * 3, [False, True, False]]
    assert unknown_after(orders, 3).all()


def test_linear_guidance_never_reaches_its_scale() -> None:
    assert float(guidance_scale("linear", 3.0, 256, 256)) == 1.0
    assert float(guidance_scale("linear", 3.0, 1, 256)) == pytest.approx(1 + 2 * 255 / 256)
    assert float(guidance_scale("constant", 3.0, 200, 256)) == 3.0
    rows = guidance_scale("linear", torch.tensor([1.0, 5.0]), torch.tensor([3, 64]), 256)
    torch.testing.assert_close(rows, torch.tensor([1.0, 4.0]))
    steps = guidance_scale("constant", torch.tensor([[1.0], [5.0]]), torch.zeros(2, 3), 256)
    assert steps.tolist() == [[1.0] * 3, [5.0] * 3]
    with pytest.raises(ValueError, match="schedule must be 'constant' or 'linear', got 'cosine'"):
        guidance_scale("cosine", 3.0, 1, 256)
