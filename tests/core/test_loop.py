"""Metamorphic properties of whole runs: what may not change when only the method changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmspec.engine import Engine
from mmspec.messages import Plan
from mmspec.pacing import Fixed
from mmspec.token_target import TokenTarget
from mmspec.trace import Trace
from tests.core.toy import (
    AttentionDecoder,
    DynamicTree,
    FixedTree,
    Guess,
    MarkovDecoder,
    Oracle,
    SampledChain,
    SampledSiblings,
    Silent,
    random_laws,
    request,
)

VOCAB = 5
PROMPTS = [[1, 2, 3], [4], [0, 1, 2, 3, 4, 0, 1]]
SEEDS = [11, 12, 13]
TABLE = random_laws(VOCAB, VOCAB, 3)
PATHS = [[0], [1], [0, 0], [0, 1], [1, 0], [0, 0, 0]]
DETERMINISTIC: dict[str, tuple[Any, Plan]] = {
    "chain": (FixedTree(TABLE, [[0], [0, 0], [0, 0, 0]]), Plan(3)),
    "static tree": (FixedTree(TABLE, PATHS), Plan(3, 2, 6)),
    "dynamic tree": (DynamicTree(TABLE), Plan(3, 2, 7)),
    "ragged chain": (Guess(VOCAB, 1, chain=True), Plan(4)),
    "ragged tree": (Guess(VOCAB, 2), Plan(4, 2, 8)),
}
ALL = {
    **DETERMINISTIC,
    "sampled chain": (SampledChain(TABLE), Plan(3)),
    "sampled tree": (SampledSiblings([TABLE]), Plan(2, 2, 6)),
}


def engine_of(drafter: Any = None, plan: Plan | None = None, **rest: Any) -> Engine:
    target = TokenTarget(AttentionDecoder(VOCAB, sharp=3.0))
    if drafter is None:
        return Engine(target)
    plan = plan or Plan(3)
    rest = {"strict": True, "lookahead": max(plan.nodes, 8), **rest}
    return Engine(target, drafter, pacer=Fixed(plan), **rest)


def run(
    engine: Engine, prompts: list[list[int]], seeds: list[int], **options: Any
) -> list[list[int]]:
    options = {"max_new_tokens": 21, **options}
    return engine.generate(request(prompts, **options), seeds=seeds)[0]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("case", DETERMINISTIC)
def test_deterministic_drafts_never_change_a_token(case: str, temperature: float) -> None:
    plain = run(engine_of(), PROMPTS, SEEDS, temperature=temperature)
    assert run(engine_of(*DETERMINISTIC[case]), PROMPTS, SEEDS, temperature=temperature) == plain


@pytest.mark.parametrize("case", ALL)
def test_processors_see_the_same_prefixes_as_in_plain_decoding(case: str) -> None:
    options = {
        "repetition_penalty": 1.5,
        "bad_words_ids": ((1, 2), (3, 3)),
        "forced_ids": ((4, 2), (20, 0)),
        "top_k": 4,
    }
    plain = run(engine_of(), PROMPTS, SEEDS, **options)
    assert run(engine_of(*ALL[case]), PROMPTS, SEEDS, **options) == plain
    assert all(row[4] == 2 and row[20] == 0 for row in plain)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("case", [*(case for case in ALL if "ragged" not in case), "plain"])
def test_a_batch_equals_its_single_rows(case: str, temperature: float) -> None:
    parts = ALL.get(case, ())
    together = run(engine_of(*parts), PROMPTS, SEEDS, temperature=temperature)
    for row, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        alone = run(engine_of(*parts), [prompt], [seed], temperature=temperature)
        assert alone == [together[row]]


@pytest.mark.parametrize("case", ALL)
def test_same_seed_twice_and_streaming(case: str) -> None:
    engine = engine_of(*ALL[case])
    asked = request(PROMPTS, max_new_tokens=17, temperature=1.0)
    streamed: list[list[int]] = [[] for _ in PROMPTS]
    for commit in engine.stream(asked, Trace(), SEEDS):
        for row, units in zip(streamed, commit.units, strict=True):
            row.extend(units)
    if not case.startswith("ragged"):
        assert engine.generate(asked, seeds=SEEDS)[0] == streamed
    heard: list[int] = []
    outputs, _ = engine.generate(asked, seeds=SEEDS, on_commit=lambda c: heard.append(c.emitted))
    assert sum(heard) == sum(map(len, outputs)) == 3 * 17


@pytest.mark.parametrize("case", DETERMINISTIC)
def test_splitting_a_greedy_run_changes_nothing(case: str) -> None:
    engine = engine_of(*DETERMINISTIC[case])
    whole = run(engine, PROMPTS, SEEDS, max_new_tokens=20)
    first = run(engine, PROMPTS, SEEDS, max_new_tokens=9)
    longer = [prompt + row for prompt, row in zip(PROMPTS, first, strict=True)]
    second = run(engine, longer, SEEDS, max_new_tokens=11)
    assert [a + b for a, b in zip(first, second, strict=True)] == whole


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("case", ALL)
def test_the_limit_is_exact(case: str, limit: int) -> None:
    outputs = run(engine_of(*ALL[case]), PROMPTS, SEEDS, max_new_tokens=limit, temperature=1)
    assert [len(row) for row in outputs] == [limit] * 3


def until(row: list[int], stops: tuple[int, ...]) -> list[int]:
    ends = [index for index, token in enumerate(row) if token in stops]
    return row[: ends[0] + 1] if ends else row


@pytest.mark.parametrize("stops", [(2,), (0, 4), (1, 2, 3)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_stop_ids_end_rows_inside_a_block(stops: tuple[int, ...], temperature: float) -> None:
    endless = run(engine_of(), PROMPTS, SEEDS, temperature=temperature)
    expected = [until(row, stops) for row in endless]
    perfect = Oracle(endless, VOCAB)
    for drafter, plan in ((perfect, Plan(6)), (Silent(), Plan(0)), *DETERMINISTIC.values()):
        engine = engine_of(drafter, plan)
        options = {"temperature": temperature, "stop_ids": stops}
        assert run(engine, PROMPTS, SEEDS, **options) == expected


def test_a_perfect_and_an_always_wrong_drafter() -> None:
    endless = run(engine_of(), PROMPTS, SEEDS, max_new_tokens=22)
    asked = request(PROMPTS, max_new_tokens=22)
    outputs, trace = engine_of(Oracle(endless, VOCAB), Plan(6)).generate(asked)
    assert outputs == endless
    assert trace.metrics.rounds == 3
    assert trace.acceptance_by_position == [1.0] * 6
    assert trace.acceptance_length == 7
    outputs, trace = engine_of(Oracle(endless, VOCAB, wrong=True), Plan(6)).generate(asked)
    assert outputs == endless
    assert trace.acceptance_length == 1
    assert trace.metrics.acceptance_rate == 0


def test_two_requests_in_progress_do_not_mix() -> None:
    """State is part of the law (L11): nothing of a request may live in the target."""
    engine = engine_of()
    options = [{"temperature": 1.0}, {"temperature": 0.0, "stop_ids": (2,)}]
    asked = [
        request([prompt], max_new_tokens=9, **o)
        for prompt, o in zip(PROMPTS, options, strict=False)
    ]
    alone = [engine.generate(one, seeds=[5])[0][0] for one in asked]
    mixed: list[list[int]] = [[], []]
    streams = [engine.stream(one, Trace(), [5]) for one in asked]
    for _, (index, stream) in product(range(9), enumerate(streams)):
        for commit in [c for c in [next(stream, None)] if c is not None]:
            mixed[index].extend(commit.units[0])
    assert mixed == alone


def test_an_abandoned_stream_leaves_a_usable_engine() -> None:
    engine = engine_of(*ALL["static tree"])
    whole = run(engine, PROMPTS, SEEDS, temperature=1)
    stream = engine.stream(request(PROMPTS, max_new_tokens=21, temperature=1), Trace(), SEEDS)
    next(stream)
    next(stream)
    stream.close()
    assert run(engine, PROMPTS, SEEDS, temperature=1) == whole


def test_seeds_must_fit_the_rows() -> None:
    with pytest.raises(ValueError, match="2 seeds given for 3 rows; give one a row"):
        run(engine_of(), PROMPTS, [1, 2])


class Broken(MarkovDecoder):
    """A target that says NaN from its third step on, in one row."""

    def step(self, *args: Any) -> tuple[Tensor, Tensor]:
        logits, hidden = super().step(*args)
        if self.steps >= 3:
            logits = logits.clone()
            logits[-1] = float("nan")
        return logits, hidden


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_target_that_is_not_finite_is_an_error(temperature: float) -> None:
    engine = Engine(TokenTarget(Broken(TABLE)))
    with pytest.raises(FloatingPointError, match="not finite in row 2; try dtype float32"):
        run(engine, PROMPTS, SEEDS, temperature=temperature)


def test_a_row_that_is_complete_may_say_anything() -> None:
    table = torch.zeros(VOCAB, VOCAB, dtype=torch.float64) + 1e-9
    table[:, 2] = 1.0
    engine = Engine(TokenTarget(Broken(table)))
    outputs = run(engine, [[0], [0], [0]], SEEDS, stop_ids=(2,))
    assert outputs == [[2]] * 3


@contextmanager
def counted_syncs() -> Iterator[Counter[str]]:
    """Counts every way a tensor's numbers reach Python."""
    seen: Counter[str] = Counter()
    names = (
        "tolist",
        "item",
        "cpu",
        "numpy",
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
        "nonzero",
    )
    kept = {name: getattr(Tensor, name) for name in names}

    def spy(name: str) -> Any:
        def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            seen[name] += 1
            return kept[name](self, *args, **kwargs)

        return method

    for name in names:
        setattr(Tensor, name, spy(name))
    try:
        yield seen
    finally:
        for name, method in kept.items():
            setattr(Tensor, name, method)


@pytest.mark.parametrize("stops", [(), (VOCAB + 1,)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "case", ["chain", "static tree", "dynamic tree", "sampled chain", "sampled tree"]
)
def test_one_host_synchronisation_a_round(
    case: str, temperature: float, stops: tuple[int, ...]
) -> None:
    engine = engine_of(*ALL[case])
    asked = request(PROMPTS, max_new_tokens=21, temperature=temperature, stop_ids=stops)
    stream = engine.stream(asked, Trace(), SEEDS)
    next(stream)
    rounds = 0
    with counted_syncs() as seen:
        for _ in stream:
            rounds += 1
    assert seen.total() == seen["tolist"] == rounds


class Dispatched(TorchDispatchMode):
    """Operators that wait for an accelerator inside: data-dependent shapes and scalars."""

    waiting = ("nonzero", "_local_scalar_dense", "masked_select", "unique", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        masks = [i for i in args[1] if i is not None] if name.startswith("index") else []
        if name in self.waiting or any(getattr(m, "dtype", None) == torch.bool for m in masks):
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("case", ["chain", "dynamic tree", "sampled chain", "sampled tree"])
def test_no_operator_waits_for_the_device(case: str, temperature: float) -> None:
    engine = engine_of(*ALL[case])
    asked = request(PROMPTS, max_new_tokens=12, temperature=temperature, stop_ids=(VOCAB + 1,))
    stream = engine.stream(asked, Trace(), SEEDS)
    next(stream)
    with Dispatched() as mode:
        for _ in stream:
            pass
    assert not mode.seen


def test_the_counters_count() -> None:
    with counted_syncs() as seen, Dispatched() as mode:
        ones = torch.ones(3)
        if ones[0] > 0:
            ones[1].item()
        ones[ones > 0].sum()
    assert seen == {"__bool__": 1, "item": 1}
    assert mode.seen["index"] + mode.seen["nonzero"] >= 1
    assert mode.seen["_local_scalar_dense"] + mode.seen["is_nonzero"] >= 1
