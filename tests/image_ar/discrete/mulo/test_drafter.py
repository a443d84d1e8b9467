"""The low-resolution model as a drafter: what it is told, what it draws, where it lands."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from image_ar.discrete.grid import Grid
from image_ar.discrete.mulo.drafter import STREAM, MultiScaleDrafter
from image_ar.discrete.mulo.rule import MultiScaleRule
from image_ar.discrete.mulo.scales import Block, Scales
from image_ar.discrete.neighbours import CodeIds
from mmspec.distributions import invert_cdf
from mmspec.messages import Draft, Plan
from mmspec.noise import Noise
from mmspec.rules import Exact
from mmspec.sampling import warp
from mmspec.token_target import TokenTarget
from tests.core.image_target import CODES, CodesOnly
from tests.core.test_regeneration import law_after
from tests.core.toy import AttentionDecoder
from tests.image_ar.discrete.mulo.toy import LINED, PROMPTS, SCALES, generate

SAMPLED = {"temperature": 1.0, "top_k": 6}


class Nearest:
    """Repeats codes, and takes the upper left one of a square."""

    def __init__(self) -> None:
        self.fresh: list[int] = []

    def up(self, low: Tensor, high: Tensor) -> Tensor:
        large = low.repeat_interleave(2, 1).repeat_interleave(2, 2)
        return large[:, high.shape[1] :]

    def down(self, high: Tensor, fresh: int) -> Tensor:
        self.fresh.append(fresh)
        return high[:, ::2, ::2][:, -fresh:]


class Watched(MultiScaleDrafter):
    """Keeps its drafts and the pictures they were made for."""

    seen: list[tuple[list[list[int]], list[list[int]]]]

    def draft(self, state: Any, plan: Plan, noise: Noise) -> Draft:
        draft = super().draft(state, plan, noise)
        self.seen.append((state.outputs(), draft.units.tolist()))
        return draft


def drafter(scales: Scales, rows: int = 1) -> tuple[Watched, AttentionDecoder, Nearest]:
    decoder = CodesOnly(CODES + 1, seed=5, sharp=3.0)
    scaling = Nearest()
    made = Watched(TokenTarget(decoder), scales, scaling, scaling, CodeIds(CODES), rows)
    made.seen = []
    return made, decoder, scaling


def expected(
    scales: Scales, decoder: AttentionDecoder, number: int, output: list[int], rows: int
) -> list[int]:
    """A draft from fresh prefills of the low-resolution model."""
    low, high = scales.low, scales.high
    block = scales.block(len(output), rows)
    assert block is not None
    lines = [output[row * high.line :][: high.columns] for row in range(2 * block.first)]
    said: list[int] = []
    for line in lines[::2]:
        said += [*line[::2], *low.line_ids]
    tape, forced = Noise([number], horizon=high.length), dict(low.forced_ids())
    for place in range(block.first * low.line, block.last * low.line):
        logits = law_after(decoder, [*PROMPTS[number], *said]).float()
        law = warp(logits, request_options())
        unit = int(invert_cdf(law, tape.at(STREAM, torch.tensor([[place]]))[0, 0]))
        said.append(forced.get(place, unit))
    units: list[int] = []
    for row in range(2 * block.first, 2 * block.last):
        line = said[row // 2 * low.line :][: low.columns]
        units += [code for code in line for _ in range(2)] + list(high.line_ids)
    return units[len(output) - block.start : -1]


def request_options() -> Any:
    from mmspec.sampling import Sampling

    return Sampling(**SAMPLED)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("scales", [SCALES, LINED], ids=["plain", "lines"])
@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_drafts_are_what_a_fresh_low_resolution_model_says(
    scales: Scales, rows: int, tau: float
) -> None:
    made, decoder, scaling = drafter(scales, rows)
    _, trace = generate(scales.high, made, MultiScaleRule(scales.high, tau), **SAMPLED)
    assert not trace.notes
    for outputs, units in made.seen:
        for number, (output, drafted) in enumerate(zip(outputs, units, strict=True)):
            assert drafted == expected(scales, decoder, number, output, rows)
    # Only rows that are new are scaled down.
    assert scaling.fresh == ([1, 1] if rows == 1 else [2])


@pytest.mark.parametrize("options", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("scales", [SCALES, LINED], ids=["plain", "lines"])
def test_exact_rules_and_refusing_everything_give_plain_decoding(
    scales: Scales, options: dict[str, Any]
) -> None:
    plain, _ = generate(scales.high, None, None, **options)
    for rule in (Exact(), MultiScaleRule(scales.high, tau=1.1)):
        made, _, _ = drafter(scales)
        assert generate(scales.high, made, rule, **options)[0] == plain


def test_a_picture_takes_a_pass_a_block_when_all_stays() -> None:
    made, _, _ = drafter(SCALES)
    _, trace = generate(SCALES.high, made, MultiScaleRule(SCALES.high, tau=0.0), **SAMPLED)
    assert trace.metrics.target_forwards == 1 + 3
    assert [record.depth for record in trace.rounds] == [0, 6, 7, 7]


def test_requests_do_not_mix() -> None:
    made, _, _ = drafter(SCALES)
    rule = MultiScaleRule(SCALES.high, tau=0.1)
    first = generate(SCALES.high, made, rule, **SAMPLED)[0]
    generate(SCALES.high, made, rule, rows=2)
    assert generate(SCALES.high, made, rule, **SAMPLED)[0] == first
    assert [generate(SCALES.high, made, rule, rows=1, **SAMPLED)[0][0]] == first[:1]


def test_the_picture_may_end_early() -> None:
    made, _, _ = drafter(SCALES)
    rule = MultiScaleRule(SCALES.high, tau=0.1)
    whole = generate(SCALES.high, made, rule, **SAMPLED)[0]
    short = generate(SCALES.high, made, rule, max_new_tokens=11, **SAMPLED)[0]
    assert [len(row) for row in short] == [11] * 3
    assert [row[:8] for row in short] == [row[:8] for row in whole]


def test_blocks() -> None:
    assert SCALES.ratio == 2
    assert SCALES.block(0, 1) == Block(0, 1, 0, 8)
    assert SCALES.block(7, 1) == Block(0, 1, 0, 8)
    assert SCALES.block(8, 1) == Block(1, 2, 8, 16)
    assert SCALES.block(16, 2) == Block(2, 3, 16, 24)
    assert SCALES.block(24, 1) is None
    assert LINED.block(13, 1) == Block(1, 2, 12, 24)
    for low in (Grid(6, 4), Grid(3, 4), Grid(4, 2), Grid(7, 5)):
        with pytest.raises(ValueError, match="times"):
            Scales(low, SCALES.high)


def test_rows_out_of_range_are_refused() -> None:
    for rows in (0, 4):
        with pytest.raises(ValueError, match="between 1 and 3"):
            drafter(SCALES, rows)
