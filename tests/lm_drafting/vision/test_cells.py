"""Pooling and convolution against loops over cells."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lm_drafting.vision import Grid, VisualInput
from lm_drafting.vision.convolution import Convolution
from lm_drafting.vision.pooling import Pooling
from tests.lm_drafting.vision.pictures import HIDDEN, check_shape, make, picture

GRIDS: list[Grid] = [(1, 4, 4), (1, 5, 7), (1, 3, 6), (3, 2, 5), (2, 1, 1), (1, 1, 9)]
Shrink = Callable[[VisualInput], Tensor]


def cells(visual: VisualInput, ratio: int) -> list[Tensor]:
    """``(runs, rows of the cell, columns of the cell, row)`` real tokens of every cell."""
    grid, (down, across) = visual.grid, (ratio, ratio)
    if grid is None:
        grid, (down, across) = (1, 1, visual.tokens), (1, ratio**2)
    frames, rows, columns = grid
    table = visual.fused.unflatten(1, grid)
    return [
        table[:, frame, top : top + down, left : left + across]
        for frame in range(frames)
        for top in range(0, rows, down)
        for left in range(0, columns, across)
    ]


def check_pooling(shrink: Shrink, visual: VisualInput, ratio: int) -> None:
    expected = [cell.flatten(1, 2).mean(1) for cell in cells(visual, ratio)]
    torch.testing.assert_close(shrink(visual), torch.stack(expected, 1))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_pooling_averages_real_tokens(grid: Grid, ratio: int) -> None:
    frames, rows, columns = grid
    visual = picture(frames * rows * columns, grid, runs=2)
    check_pooling(lambda visual: Pooling(ratio)(visual).rows, visual, ratio)


@pytest.mark.parametrize("tokens", [1, 4, 11])
def test_pooling_without_a_grid(tokens: int) -> None:
    check_pooling(lambda visual: Pooling(2)(visual).rows, picture(tokens, runs=2), 2)


def test_the_pooling_law_sees_padding() -> None:
    def padded(visual: VisualInput) -> Tensor:
        frames = visual.fused.unflatten(1, (3, 5)).movedim(-1, 1)
        return F.avg_pool2d(F.pad(frames, (0, 1, 0, 1)), 2).flatten(2).mT

    with pytest.raises(AssertionError):
        check_pooling(padded, picture(15, (1, 3, 5)), 2)


@pytest.mark.parametrize("grid", [*GRIDS, None])
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_convolution_by_cells(grid: Grid | None, ratio: int) -> None:
    visual = picture(9 if grid is None else grid[0] * grid[1] * grid[2], grid, runs=2, row=6)
    compressor = make({"kind": "conv", "ratio": ratio}, row=6)
    assert isinstance(compressor, Convolution)
    kernel = compressor.depthwise.weight.squeeze(1)  # (row, ratio, ratio)
    if grid is None:
        kernel = kernel.flatten(1).unsqueeze(1)
    expected = []
    for cell in cells(visual, ratio):
        part = kernel[:, : cell.shape[1], : cell.shape[2]]
        mixed = torch.einsum("rhwc,chw->rc", cell, part) + compressor.depthwise.bias
        expected.append(compressor.pointwise(F.gelu(mixed)))
    torch.testing.assert_close(compressor(visual).rows, torch.stack(expected, 1))


def test_convolution_starts_as_a_projected_mean() -> None:
    visual = picture(16, (1, 4, 4))
    convolution = Convolution(HIDDEN)
    means = Pooling()(visual).rows
    torch.testing.assert_close(
        convolution(visual).rows, convolution.pointwise(F.gelu(means)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["pool", "conv"])
def test_two_unequal_pictures_that_touch_are_a_strip(kind: str) -> None:
    compressor = make({"kind": kind})
    made = compressor(picture(4 * 6 + 2 * 2, None, runs=2))
    check_shape(made, picture(28, None, runs=2))
    assert made.counts == (7, 7)


@pytest.mark.parametrize("kind", ["pool", "conv"])
def test_frames_do_not_mix(kind: str) -> None:
    visual = picture(3 * 9, (3, 3, 3))
    compressor = make({"kind": kind})
    before = compressor(visual).rows
    visual.fused[:, 9:18] += 1
    changed = (compressor(visual).rows != before).any(-1)[0]
    assert changed.tolist() == [False] * 4 + [True] * 4 + [False] * 4


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="choose from"):
        Pooling(positions="middle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ratio=0"):
        Pooling(0)
