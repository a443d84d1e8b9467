"""Jacobi drafts never change what is generated, only in how many passes."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from image_ar.discrete.building import build_scd, build_sjd
from image_ar.discrete.grid import Grid
from image_ar.discrete.jacobi import JacobiDrafter
from mmspec.catalog import BuildContext
from mmspec.distributions import Categorical
from mmspec.engine import Engine
from mmspec.messages import Draft, Plan
from mmspec.pacing import Fixed
from mmspec.token_target import TokenTarget
from mmspec.trace import Trace
from tests.core.exactly import distance
from tests.core.grid import GridNoise, shares
from tests.core.statistics import p_value
from tests.core.test_loop import Dispatched, counted_syncs
from tests.core.toy import request
from tests.image_ar.discrete.toy import (
    INITIALISE,
    REDRAW,
    BatchNoise,
    GridDecoder,
    generate,
    neighbour_laws,
    picture_law,
    sample,
)

SMALL = Grid(2, 2)
LAWS = neighbour_laws(3, 1.5, 0, places=4)
EXPECTED = picture_law(SMALL, LAWS)
ROWS = 20_000
ALL = list(product(REDRAW, INITIALISE))

LINES = Grid(3, 4, line_ids=(5,), end_ids=(6,))
CODES = torch.arange(5)
LINE_LAWS = torch.cat([neighbour_laws(7, 1.5, 3)[..., :5], torch.full((1, 8, 8, 2), 1e-9)], dim=-1)
LINE_LAWS = LINE_LAWS / LINE_LAWS.sum(-1, keepdim=True)
PROMPTS = [[0, 1, 2], [3], [0, 0, 0, 0, 0, 1]]
SEEDS = [11, 12, 13]


def lines(redraw: str, initialise: str) -> JacobiDrafter:
    return JacobiDrafter(LINES, 7, redraw, initialise, CODES)


class Lying(JacobiDrafter):
    """Records laws that are not those it drew from."""

    def draft(self, *args: Any) -> Draft:
        draft = super().draft(*args)
        assert isinstance(draft.law, Categorical)
        sharp = draft.law.probs**2
        return replace(draft, law=Categorical(sharp / sharp.sum(-1, keepdim=True)))


class Reusing(BatchNoise):
    """Hands the numbers of the last verdict to the redraw."""

    def fresh(self, stream: str, count: int) -> Tensor:
        if stream == "jacobi-redraw" and hasattr(self, "accept"):
            missing = super().fresh(stream, count - self.accept.shape[1])
            return torch.cat([self.accept, missing], dim=1)
        numbers = super().fresh(stream, count)
        if stream == "accept":
            self.accept = numbers
        return numbers


class Alternating:
    """Plans of several lengths in turn."""

    def __init__(self, *lengths: int) -> None:
        self.plans = cycle(Plan(length) for length in lengths)

    def plan(self, state: Any) -> Plan:
        return next(self.plans)

    def observe(self, *args: Any) -> None: ...


@pytest.mark.parametrize(("redraw", "initialise"), ALL)
def test_the_law_of_whole_pictures(redraw: str, initialise: str) -> None:
    drafter = JacobiDrafter(SMALL, 3, redraw, initialise)
    outputs, _ = sample(SMALL, LAWS, drafter, 2, ROWS)
    assert p_value(outputs, EXPECTED) > 1e-4


@pytest.mark.parametrize("length", [1, 3, 6])
@pytest.mark.parametrize("redraw", REDRAW)
def test_the_window_does_not_change_the_law(redraw: str, length: int) -> None:
    outputs, _ = sample(SMALL, LAWS, JacobiDrafter(SMALL, 3, redraw), length, ROWS, seed=length)
    assert p_value(outputs, EXPECTED) > 1e-4


@pytest.mark.parametrize("redraw", REDRAW)
def test_a_false_record_is_found(redraw: str) -> None:
    outputs, _ = sample(SMALL, LAWS, Lying(SMALL, 3, redraw), 2, ROWS)
    assert p_value(outputs, EXPECTED) < 1e-6


def test_a_redraw_with_the_numbers_of_the_verdict_is_found() -> None:
    drafter = JacobiDrafter(SMALL, 3, "independent")
    noise = Reusing(ROWS, 1, SMALL.length)
    outputs, _ = sample(SMALL, LAWS, drafter, 2, ROWS, noise=noise)
    assert p_value(outputs, EXPECTED) < 1e-6


HALVES = torch.tensor([(2, 2, 0), (0, 2, 2), (2, 0, 2), (4, 0, 0), (0, 0, 4)]).double() / 4


class Enumerated(GridNoise):
    """Every combination of the numbers that a run with windows of three over four cells reads."""

    def __init__(self) -> None:
        fresh = {"accept": [2] * 5, "residual": [2] * 3}
        super().__init__([2], {**fresh, "jacobi-redraw": [1, 1, 2, 2, 2], "jacobi-keep": [2] * 3})

    def at(self, stream: str, positions: Tensor) -> Tensor:
        if stream == "target":
            return super().at(stream, positions)
        return torch.zeros(positions.shape, dtype=torch.float64)


def enumerated(drafter: JacobiDrafter, table: Tensor) -> float:
    """Largest error of the law of whole pictures, without any sampling."""
    noise = Enumerated()
    outputs, _ = sample(SMALL, table, drafter, 2, noise.rows, noise=noise)
    return distance(shares(outputs), picture_law(SMALL, table))


class Shifted(JacobiDrafter):
    """Records the law of the next token of the vocabulary."""

    def draft(self, *args: Any) -> Draft:
        draft = super().draft(*args)
        assert isinstance(draft.law, Categorical)
        return replace(draft, law=Categorical(draft.law.probs.roll(1, -1)))


def halves() -> Tensor:
    """Laws of which every threshold is a half, so that the grid of uniforms has no error."""
    generator = torch.Generator().manual_seed(4)
    table = HALVES[torch.randint(5, (4, 4, 4), generator=generator)]
    table[0, 3, 3] = HALVES[0]
    return table


@pytest.mark.parametrize(
    ("redraw", "initialise"), [("independent", "left"), *product(["maximal"], INITIALISE)]
)
def test_the_law_is_exact_to_the_last_digit(redraw: str, initialise: str) -> None:
    assert enumerated(JacobiDrafter(SMALL, 3, redraw, initialise), halves()) < 1e-12


def test_the_enumeration_finds_a_false_record() -> None:
    assert enumerated(Shifted(SMALL, 3, "maximal", "left"), halves()) > 1e-3


@pytest.mark.parametrize(("redraw", "initialise"), ALL)
def test_greedy_pictures_are_those_of_plain_decoding(redraw: str, initialise: str) -> None:
    plain, _ = generate(LINES, LINE_LAWS, None, 0, SEEDS, PROMPTS)
    for length in (1, 4, 30):
        drafter = lines(redraw, initialise)
        assert generate(LINES, LINE_LAWS, drafter, length, SEEDS, PROMPTS)[0] == plain
    options = {"pacer": Alternating(3, 0, 0, 5, 1), "max_new_tokens": 11}
    outputs, _ = generate(LINES, LINE_LAWS, lines(redraw, initialise), 5, SEEDS, PROMPTS, **options)
    assert outputs == [row[:11] for row in plain]


@pytest.mark.parametrize("redraw", REDRAW)
def test_a_temperature_near_zero_is_greedy(redraw: str) -> None:
    plain, _ = generate(LINES, LINE_LAWS, None, 0, SEEDS, PROMPTS)
    drafter = lines(redraw, "left")
    assert generate(LINES, LINE_LAWS, drafter, 4, SEEDS, PROMPTS, temperature=1e-4)[0] == plain


@pytest.mark.parametrize(("redraw", "initialise"), ALL)
def test_a_batch_equals_its_single_rows(redraw: str, initialise: str) -> None:
    drafter = lines(redraw, initialise)
    options = {"temperature": 1.0}
    together, _ = generate(LINES, LINE_LAWS, drafter, 4, SEEDS, PROMPTS, **options)
    for row, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        alone, _ = generate(LINES, LINE_LAWS, drafter, 4, [seed], [prompt], **options)
        assert alone == [together[row]]
    backwards = generate(LINES, LINE_LAWS, drafter, 4, SEEDS[::-1], PROMPTS[::-1], **options)[0]
    assert backwards == together[::-1]


@pytest.mark.parametrize("redraw", REDRAW)
def test_plain_rounds_between_leave_the_law_alone(redraw: str) -> None:
    drafter = JacobiDrafter(SMALL, 3, redraw)
    options = {"temperature": 1.0, "pacer": Alternating(1, 0, 2)}
    outputs, _ = generate(SMALL, LAWS, drafter, 2, list(range(4000)), **options)
    assert p_value(outputs, EXPECTED) > 1e-4


class Watched(JacobiDrafter):
    """Keeps the drafts, and checks what every one of them promises."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.drafts: list[tuple[Draft, Tensor, list[int]]] = []

    def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
        draft = super().draft(state, plan, noise)
        start = state.lengths - state.prompt_lengths
        positions = start.unsqueeze(1) + torch.arange(draft.nodes)
        self.drafts.append((draft, positions, list(state.new_lengths)))
        return draft

    def observe(self, state: Any, draft: Draft, evidence: Any, verdict: Any, commit: Any) -> None:
        super().observe(state, draft, evidence, verdict, commit)
        self.accepted = verdict.accepted
        if draft.nodes and isinstance(draft.law, Categorical):
            drawn = draft.law.probs.amax(-1) < 1
            drawn = (drawn if draft.valid is None else drawn & draft.valid).long().cumprod(1).sum(1)
            active = torch.tensor(commit.active)
            self.kept_all = getattr(self, "kept_all", True) and bool(
                (verdict.accepted[active] >= drawn[active]).all()
            )


@pytest.mark.parametrize(("redraw", "temperature"), [*product(REDRAW, [1.0]), ("maximal", 0.0)])
def test_forced_tokens_stand_in_their_slots(redraw: str, temperature: float) -> None:
    drafter = Watched(LINES, 7, redraw, "left", CODES)
    options = {"temperature": temperature}
    outputs, _ = generate(LINES, LINE_LAWS, drafter, 6, SEEDS, PROMPTS, **options)
    for position, token in LINES.forced_ids():
        assert all(row[position] == token for row in outputs)
    seen = 0
    for draft, positions, made in drafter.drafts:
        left = [LINES.length - n for n in made]
        assert draft.nodes == min(6, max(left))
        inside = positions < LINES.length
        assert torch.equal(inside, inside if draft.valid is None else draft.valid)
        assert bool(inside.all()) == (draft.valid is None)
        for position, token in LINES.forced_ids():
            here = positions == position
            seen += int(here.sum())
            assert (draft.units[here] == token).all()
            if isinstance(draft.law, Categorical):
                assert (draft.law.probs[here][:, token] == 1).all()
        if isinstance(draft.law, Categorical):
            assert torch.allclose(draft.law.probs.sum(-1), torch.ones(1))
    assert seen > 20


@pytest.mark.parametrize("redraw", REDRAW)
def test_a_law_that_does_not_move_is_always_kept(redraw: str) -> None:
    grid = Grid(4, 4)
    places = neighbour_laws(5, 1.0, 2, places=16)[:, :1, :1].expand(-1, 6, 6, -1)
    drafter = Watched(grid, 5, redraw, "random")
    _, trace = generate(grid, places, drafter, 7, list(range(20)), temperature=1.0)
    assert drafter.kept_all
    assert trace.acceptance_length > 2


MEDIUM = Grid(8, 8)
MEDIUM_LAWS = neighbour_laws(32, 1.0, 0)


def passes(redraw: str, initialise: str = "random") -> float:
    """Mean passes for a picture of 64 tokens with windows of 16, every row counted alone."""
    _, trace = sample(MEDIUM, MEDIUM_LAWS, JacobiDrafter(MEDIUM, 32, redraw, initialise), 15, 48)
    return 64 / trace.acceptance_length


def test_coupled_redraws_need_fewer_passes() -> None:
    independent, maximal, gumbel = (passes(redraw) for redraw in REDRAW)
    assert independent < 40
    assert maximal < 0.75 * independent
    assert gumbel < 0.75 * independent
    assert maximal < gumbel * 1.1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("redraw", "initialise"), ALL)
def test_drafting_never_waits_for_the_device(
    redraw: str, initialise: str, temperature: float
) -> None:
    target = TokenTarget(GridDecoder(LINES, LINE_LAWS))
    engine = Engine(target, lines(redraw, initialise), pacer=Fixed(Plan(4)), lookahead=4)
    asked = request(PROMPTS, max_new_tokens=LINES.length, temperature=temperature)
    stream = engine.stream(asked, Trace(), SEEDS)
    next(stream)
    rounds = 0
    with counted_syncs() as seen, Dispatched() as mode:
        for _ in stream:
            rounds += 1
    assert seen.total() == seen["tolist"] == rounds
    assert not mode.seen


def test_a_request_leaves_nothing_behind() -> None:
    drafter = lines("maximal", "left_law")
    options = {"temperature": 1.0}
    first, _ = generate(LINES, LINE_LAWS, drafter, 4, SEEDS, PROMPTS, **options)
    generate(LINES, LINE_LAWS, drafter, 7, [1], max_new_tokens=6, **options)
    assert generate(LINES, LINE_LAWS, drafter, 4, SEEDS, PROMPTS, **options)[0] == first
    drafter.reset()
    state: Any = SimpleNamespace(
        batch=2,
        tokens=torch.zeros(2, 9),
        new_lengths=[1, 1],
        finished=[False] * 2,
        sampler=SimpleNamespace(sampling=SimpleNamespace(max_new_tokens=9)),
    )
    noise: Any = BatchNoise(2, 0, 9)
    assert drafter.draft(state, Plan(3), noise).nodes == 0


def test_builders_and_their_errors() -> None:
    target: Any = SimpleNamespace(grid=LINES, vocab_size=7, image_ids=slice(0, 5))
    assert build_sjd(BuildContext(target)).name == "sjd"
    assert build_scd(BuildContext(target)).name == "scd"
    gumbel = build_scd(BuildContext(target, options={"redraw": "gumbel", "initialise": "above"}))
    assert gumbel.name == "scd-gs"
    with pytest.raises(ValueError, match="redraw must be one of independent, maximal, gumbel"):
        build_scd(BuildContext(target, options={"redraw": "twice"}))
    with pytest.raises(ValueError, match="initialise must be one of"):
        build_sjd(BuildContext(target, options={"initialise": "below"}))
    text: Any = SimpleNamespace(vocab_size=7)
    with pytest.raises(ValueError, match="needs a target that makes a grid of image tokens"):
        build_sjd(BuildContext(text))
