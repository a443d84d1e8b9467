"""Cached, chunked, ragged and tree-shaped passes equal one pass without a cache; guidance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.llamagen.config import CLASSES, TEXT
from adapters.llamagen.decoder import LlamaGenDecoder
from mmspec.engine import Engine
from mmspec.messages import Draft, Features, Verdict
from mmspec.paired_cache import PairedCache
from mmspec.sampling import Sampling
from mmspec.state import State
from mmspec.token_target import Request, TokenTarget
from mmspec.trees import Tree
from tests.adapters.llamagen.tiny_models import (
    CELLS,
    KINDS,
    UNTURNED,
    VOCAB,
    gpt_of,
    guided_logits,
    inputs_of,
    random_codes,
)
from tests.core.test_trees import random_tree
from tests.drafters import DRAFTERS

SCALES: list[Any] = [1.0, 3.0, [2.5, 1.0, 0.5]]
ROWS = 3


def target_of(kind: str) -> TokenTarget:
    return TokenTarget(LlamaGenDecoder(gpt_of(kind)))


def request_of(inputs: dict[str, Any], lookahead: int = CELLS, **options: Any) -> Request:
    sampling = Sampling(**{"max_new_tokens": CELLS, "temperature": 1.0, **options})
    return Request(inputs, sampling, lookahead=lookahead)


def start(kind: str, inputs: dict[str, Any], codes: Tensor) -> tuple[TokenTarget, State, Tensor]:
    """A state whose first code is committed, and the law that was given for it."""
    target = target_of(kind)
    state, evidence = target.prefill(request_of(inputs))
    state.tokens.scatter_(1, state.lengths.unsqueeze(1), codes[:, :1])
    state.lengths = state.lengths + 1
    state.host_lengths = [length + 1 for length in state.host_lengths]
    state.pending = 1
    return target, state, evidence.law.probs  # type: ignore[attr-defined]


def commit(target: TokenTarget, state: State, codes: Tensor, accepted: list[int]) -> None:
    """Score the next four true codes and keep some of them, one more by the target itself."""
    done = torch.tensor(state.new_lengths)
    steps = done.unsqueeze(1) + torch.arange(5)
    true = codes.gather(1, steps.clamp(max=codes.shape[1] - 1))
    draft = Draft.chain(true[:, :4])
    evidence = target.score(state, draft)
    count = torch.tensor(accepted)
    path = torch.where(torch.arange(4) < count.unsqueeze(1), torch.arange(4), -1)
    own = true.gather(1, count.unsqueeze(1)).squeeze(1)
    verdict = Verdict(path, count, own, torch.zeros(len(accepted), dtype=torch.bool))
    target.commit(state, draft, evidence, verdict)


@pytest.mark.parametrize("scale", SCALES, ids=["plain", "guided", "mixed"])
@pytest.mark.parametrize("kind", [*KINDS, UNTURNED])
def test_chunks_of_any_size_equal_one_pass(kind: str, scale: Any) -> None:
    inputs, codes = inputs_of(kind, ROWS, scale), random_codes(ROWS)
    expected = guided_logits(gpt_of(kind), codes, inputs).softmax(-1)
    for cuts in ([1, 2, 3, 5, 4], [1] * (CELLS - 1), [CELLS - 1]):
        target, state, first = start(kind, inputs, codes)
        torch.testing.assert_close(first, expected[:, :1], atol=1e-5, rtol=0)
        at = 1
        for size in cuts:
            draft = Draft.chain(codes[:, at : at + size - 1])
            found = target.score(state, draft).law.probs  # type: ignore[attr-defined]
            torch.testing.assert_close(found, expected[:, at : at + size], atol=1e-5, rtol=0)
            at += size
            lead = state.prompt.lengths[0]
            state.tokens[:, lead : lead + at] = codes[:, :at]
            lengths = [lead + at] * ROWS
            target.rewind(state, torch.tensor(lengths), lengths, pending=1)


@pytest.mark.parametrize("scale", SCALES, ids=["plain", "guided", "mixed"])
@pytest.mark.parametrize("kind", [*KINDS, UNTURNED])
def test_a_tree_on_ragged_rows_scores_like_separate_pictures(kind: str, scale: Any) -> None:
    inputs, codes = inputs_of(kind, ROWS, scale), random_codes(ROWS)
    target, state, _ = start(kind, inputs, codes)
    commit(target, state, codes, [0, 3, 2])
    commit(target, state, codes, [4, 0, 1])
    assert len(set(state.host_lengths)) > 1
    tree = random_tree(7, ROWS, 2)
    units = random_codes(ROWS, 7, seed=1)
    found = target.score(state, Draft(units, tree)).law.probs  # type: ignore[attr-defined]
    for node in range(8):
        whole = torch.zeros(ROWS, CELLS, dtype=torch.long)
        ends = []
        for row, done in enumerate(state.new_lengths):
            branch = units[row, tree.ancestors[row, node, 1:]]
            prefix = torch.cat([codes[row, :done], branch])
            whole[row, : len(prefix)] = prefix
            ends.append(len(prefix))
        expected = guided_logits(gpt_of(kind), whole, inputs).softmax(-1)
        for row, end in enumerate(ends):
            torch.testing.assert_close(found[row, node], expected[row, end], atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("kind", [*KINDS, UNTURNED])
@pytest.mark.parametrize("drafter", ["bush", "static", "flaky"])
def test_the_cache_after_a_run_equals_a_fresh_pass(kind: str, scale: float, drafter: str) -> None:
    inputs = inputs_of(kind, ROWS, scale)
    asked = request_of(inputs, lookahead=0, temperature=0.0)
    target = target_of(kind)
    plain, _ = Engine(target).generate(asked)
    kept: list[State] = []
    prefill = target.prefill

    def remember(request: Request) -> tuple[State, Any]:
        found = prefill(request)
        kept.append(found[0])
        return found

    target.prefill = remember  # type: ignore[method-assign]
    found, trace = DRAFTERS[drafter].engine(target, plain).generate(asked)
    assert found == plain
    assert [len(row) for row in found] == [CELLS] * ROWS
    assert 0 < len(trace.rounds) < CELLS + 1
    state, again = kept[0], target_of(kind)
    assert isinstance(state.cache, PairedCache) == (scale > 1)
    fresh, _ = again.prefill(asked)
    fresh.tokens[:, fresh.prompt.lengths[0] :][:, :CELLS] = torch.tensor(plain)
    lengths = [length + CELLS for length in fresh.prompt.lengths]
    again.rewind(fresh, torch.tensor(lengths), lengths, pending=CELLS)
    again.score(fresh, Draft.empty(ROWS))
    used = lengths[0] - 1
    mine, other = (s.cache._buffer[..., :used, :] for s in (state, fresh))
    torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interval", [-1, 0, 3, 100])
def test_guidance_ends_after_the_interval(kind: str, interval: int) -> None:
    inputs, codes = inputs_of(kind, ROWS, [3.0, 2.0, 1.0], interval), random_codes(ROWS)
    expected = guided_logits(gpt_of(kind), codes, inputs).softmax(-1)
    target, state, first = start(kind, inputs, codes)
    torch.testing.assert_close(first, expected[:, :1], atol=1e-5, rtol=0)
    found = target.score(state, Draft.chain(codes[:, 1:-1])).law.probs  # type: ignore[attr-defined]
    torch.testing.assert_close(found, expected[:, 1:], atol=1e-5, rtol=0)


def test_guidance_by_hand() -> None:
    """The formula on given logits: scale 3 extrapolates, 1 and below leave the condition alone."""
    decoder = LlamaGenDecoder(gpt_of(CLASSES))
    with_it = torch.tensor([2, 1, 0.5, 0, -0.5, -1])
    without_it = torch.tensor([1, 1.2, 0.5, 0.3, -0.2, -1])
    logits = torch.cat([with_it.expand(3, 1, -1), without_it.expand(3, 1, -1)])
    inputs = {"guidance_scale": torch.tensor([3.0, 1.0, 0.5])}
    found = decoder.guide(logits, torch.ones(3, 1), inputs)[:, 0]
    torch.testing.assert_close(found[0], torch.tensor([4, 0.6, 0.5, -0.6, -1.1, -1]))
    assert torch.equal(found[1:], with_it.expand(2, -1))


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("kind", [*KINDS, UNTURNED])
def test_a_batch_equals_its_single_pictures(kind: str, scale: float) -> None:
    inputs, target = inputs_of(kind, ROWS, scale), target_of(kind)
    seeds = [3, 4, 5]
    together, _ = Engine(target).generate(request_of(inputs), seeds=seeds)
    for row, seed in enumerate(seeds):
        one = {k: v[row : row + 1] if isinstance(v, Tensor) else v for k, v in inputs.items()}
        assert Engine(target).generate(request_of(one), seeds=[seed])[0] == [together[row]]


@pytest.mark.parametrize("drafter", list(DRAFTERS))
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_speculation_changes_no_code(drafter: str, temperature: float) -> None:
    """Fake drafters are deterministic, so that even sampled pictures stay the same."""
    asked = request_of(inputs_of(TEXT, ROWS, 2.0), lookahead=0, temperature=temperature)
    target = target_of(TEXT)
    plain, _ = Engine(target).generate(asked, seeds=[1, 2, 3])
    assert all(0 <= code < VOCAB for row in plain for code in row)
    strict = drafter != "foreign"
    engine = DRAFTERS[drafter].engine(target, plain, strict=strict)
    assert engine.generate(asked, seeds=[1, 2, 3])[0] == plain


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_features(kind: str, scale: float) -> None:
    """What a drafter reads: layer inputs or last states, both halves side by side."""
    model, inputs, codes = gpt_of(kind), inputs_of(kind, ROWS, scale), random_codes(ROWS)
    halves, lead = (2 if scale > 1 else 1), model.config.cls_token_num
    target = target_of(kind)
    for features, wide in ((Features(), 1), (Features((0, 2)), 2)):
        asked = request_of(inputs)
        state, evidence = target.prefill(Request(inputs, asked.sampling, features, CELLS))
        assert evidence.hidden is not None
        assert state.prompt.hidden is not None
        assert state.prompt.embeds is not None
        assert evidence.hidden.shape == (ROWS, 1, 32 * wide * halves)
        assert state.prompt.hidden.shape == (ROWS, lead, 32 * wide * halves)
        expected = model.embed_condition(inputs)
        torch.testing.assert_close(state.prompt.embeds[..., :32], expected)
        if wide == 2:
            torch.testing.assert_close(state.prompt.hidden[..., :32], expected)
        state.tokens.scatter_(1, state.lengths.unsqueeze(1), codes[:, :1])
        state.lengths, state.pending = state.lengths + 1, 1
        state.host_lengths = [length + 1 for length in state.host_lengths]
        found = target.score(state, Draft(codes[:, 1:3], Tree.chain(ROWS, 2))).hidden
        assert found is not None
        assert found.shape == (ROWS, 3, 32 * wide * halves)
        if wide == 2:
            table = model.tok_embeddings(codes[:, :3])
            torch.testing.assert_close(found[..., :32], table)
            if scale > 1:
                torch.testing.assert_close(found[..., 64:96], table)
        elif scale == 1:
            law = model.logits(found).softmax(-1)
            exact = guided_logits(model, codes, inputs)[:, 1:4].softmax(-1)
            torch.testing.assert_close(law, exact, atol=1e-5, rtol=0)


def test_bfloat16_runs() -> None:
    model = gpt_of(TEXT)
    half = type(model)(model.config)
    half.load_state_dict(model.state_dict())
    target = TokenTarget(LlamaGenDecoder(half.bfloat16()))
    asked = request_of(inputs_of(TEXT, ROWS, 2.0))
    rows, _ = Engine(target).generate(asked, seeds=[1, 2, 3])
    assert [len(row) for row in rows] == [CELLS] * ROWS


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (CLASSES, {"labels": None}, "inputs lack labels; this model draws from classes"),
        (TEXT, {"caption": None}, "inputs lack caption; this model draws from text features"),
        (TEXT, {"caption_mask": None}, "inputs lack caption_mask"),
        (TEXT, {"caption": torch.zeros(3, 6, 13)}, r"caption has shape \(3, 6, 13\)"),
        (CLASSES, {"labels": torch.zeros(2)}, r"labels has shape \(2,\); this model takes \(3,\)"),
    ],
)
def test_missing_conditions(kind: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        target_of(kind).prefill(request_of({**inputs_of(kind, ROWS), **change}))
