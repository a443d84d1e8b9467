"""Random pictures for compressors, and a run of every compressor on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lm_drafting.vision import Compressed, Grid, VisualCompressor, VisualInput, build_compressor

HIDDEN = 16

SPECS: list[dict[str, Any]] = [
    {"kind": "prune"},
    {"kind": "pool"},
    {"kind": "pool", "ratio": 3, "positions": "tail"},
    {"kind": "conv"},
    {"kind": "resample", "tokens": 3, "heads": 4},
    {"kind": "text-only"},
    {"kind": "queries", "num_q": 3, "heads": 4, "qkv_bias": True},
    {"kind": "latent", "tokens": 4},
    {"kind": "elastic", "branches": [{"kind": "prune"}, {"kind": "pool"}, {"kind": "text-only"}]},
]


def make(spec: dict[str, Any], row: int = HIDDEN, seed: int = 0) -> VisualCompressor:
    """A compressor with seeded weights, ready to evaluate; a gate that has preferences."""
    compressor = build_compressor(spec, hidden=HIDDEN, row=row)
    assert compressor is not None
    generator = torch.Generator().manual_seed(seed)
    compressor.reset_parameters(generator)
    with torch.no_grad():
        for weight in compressor.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return compressor.eval()


def picture(
    tokens: int, grid: Grid | None = None, runs: int = 1, row: int = HIDDEN, seed: int = 0
) -> VisualInput:
    """Random runs."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(runs, *shape, generator=generator)

    return VisualInput(
        draw(tokens, HIDDEN), draw(tokens, HIDDEN), draw(tokens, row), draw(HIDDEN), grid
    )


def rearranged(visual: VisualInput, order: Tensor | list[int]) -> VisualInput:
    """The same runs with their tokens in another order, some left out or repeated."""
    fields = {name: getattr(visual, name)[:, order] for name in ("embeds", "hidden", "fused")}
    return replace(visual, **fields, grid=None)


def alone(visual: VisualInput, run: int) -> VisualInput:
    """One of the runs."""
    fields = ("embeds", "hidden", "fused", "question")
    return replace(visual, **{name: getattr(visual, name)[run : run + 1] for name in fields})


def check_shape(made: Compressed, visual: VisualInput) -> None:
    """What holds for the output of every compressor."""
    runs, kept = made.rows.shape[:2]
    assert runs == len(visual.embeds) == len(made.counts)
    assert made.offsets.shape == (runs, kept)
    assert made.offsets.dtype == torch.long
    assert kept == max(made.counts)
    for count, offsets, rows in zip(made.counts, made.offsets, made.rows, strict=True):
        own = offsets[:count].tolist()
        assert own == sorted(set(own))
        assert all(0 <= offset < visual.tokens for offset in own)
        assert not offsets[count:].any()
        assert not rows[count:].any()
