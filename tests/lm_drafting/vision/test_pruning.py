"""Pruning keeps what the question asks for, unchanged, and learns to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lm_drafting.vision import Compressed
from lm_drafting.vision.pruning import Pruning
from tests.lm_drafting.vision.pictures import HIDDEN, make, picture, rearranged


def pruning(ratio: int = 2) -> Pruning:
    compressor = make({"kind": "prune", "ratio": ratio})
    assert isinstance(compressor, Pruning)
    return compressor


@pytest.mark.parametrize("ratio", [1, 2, 3])
@pytest.mark.parametrize("tokens", [1, 7, 24])
def test_keeps_the_best_in_order(ratio: int, tokens: int) -> None:
    visual = picture(tokens, runs=3)
    compressor = pruning(ratio)
    made = compressor(visual)
    for run in range(3):
        asked = compressor.q_proj(visual.question[run])
        scores = [asked @ compressor.k_proj(e) / HIDDEN**0.5 for e in visual.embeds[run]]
        best = sorted(range(tokens), key=lambda token: -scores[token].item())
        kept = -(-tokens // ratio**2)
        assert made.offsets[run].tolist() == sorted(best[:kept])
        torch.testing.assert_close(
            compressor.scores(visual.question, visual.embeds)[run], torch.stack(scores)
        )


def check_unchanged(made: Compressed, fused: torch.Tensor) -> None:
    assert torch.equal(made.rows, fused[0, made.offsets[0]][None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_unchanged(dtype: torch.dtype) -> None:
    visual = picture(24)
    visual = replace(visual, fused=visual.fused.to(dtype))
    made = pruning()(visual)
    assert made.rows.dtype == dtype
    check_unchanged(made, visual.fused)
    with pytest.raises(AssertionError):  # weighing them by their scores would change them
        check_unchanged(replace(made, rows=made.rows * 0.99), visual.fused)


def test_another_question_keeps_other_tokens() -> None:
    visual = picture(24)
    other = replace(visual, question=-visual.question)
    compressor = pruning()
    kept = [set(compressor(part).offsets[0].tolist()) for part in (visual, other)]
    assert not kept[0] & kept[1]


def test_permuted_tokens_keep_the_same_rows() -> None:
    visual = picture(24)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    rows = pruning()(visual).rows[0]
    moved = pruning()(rearranged(visual, order)).rows[0]
    assert sorted(rows.tolist()) == sorted(moved.tolist())


def test_both_projections_learn() -> None:
    compressor = pruning()
    compressor(picture(24)).rows.square().sum().backward()
    for weight in compressor.parameters():
        assert weight.grad is not None
        assert weight.grad.norm() > 0
