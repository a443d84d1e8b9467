"""Units drawn anew in place: every draw must see what stands before it, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmspec.distributions import invert_cdf
from mmspec.engine import Engine
from mmspec.messages import Commit, Draft, Evidence, Plan, Regeneration, Verdict
from mmspec.noise import Noise
from mmspec.pacing import Fixed
from mmspec.rules import Match
from mmspec.rules.certificate import Certificate
from mmspec.sampling import warp
from mmspec.token_target import TokenTarget
from mmspec.trace import Trace
from mmspec.trees import Tree
from tests.core.toy import AttentionDecoder, Silent, request

VOCAB = 11
PROMPTS = [[1, 2, 3, 4, 5], [6, 7], [8, 9, 1]]
NODES = 7

SERIAL = [0, 1, 2, 3, 4, 5, 6, 7]
GAPS = [-1, 0, 1, -1, -1, 2, -1, 3]
ISLANDS = [-1, 0, 1, -1, 0, 1, 2, -1]
BACKWARDS = [-1, 2, -1, 1, -1, -1, 0, -1]
LAST = [-1] * 7 + [0]
NONE = [-1] * 8
RAGGED = [GAPS, ISLANDS, NONE]
WAVES = {
    "serial": [SERIAL] * 3,
    "gaps": [GAPS] * 3,
    "islands": [ISLANDS] * 3,
    "backwards": [BACKWARDS] * 3,
    "last": [LAST] * 3,
    "none": [NONE] * 3,
    "ragged": RAGGED,
    "uneven": [SERIAL, LAST, BACKWARDS],
}


class Chain(Silent):
    """Drafts the same pattern everywhere."""

    def draft(self, state: Any, plan: Plan, noise: Noise) -> Draft:
        steps = torch.arange(plan.length)
        return Draft.chain((state.lengths.unsqueeze(1) * 5 + 3 * steps) % VOCAB, source="toy")


class Again:
    """Keeps every chain and has the units of a table drawn anew."""

    certificate = Certificate("lossy", "made for a test")

    def __init__(self, waves: Sequence[Sequence[int]]) -> None:
        self.waves = torch.tensor(waves)

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        if not draft.nodes:
            return Match().judge(draft, evidence, noise)
        uniforms = noise.at("target", evidence.positions)
        law = evidence.law
        own = law.draw(uniforms)
        return Verdict(
            path=torch.arange(draft.nodes).expand(draft.batch, -1),
            accepted=torch.full((draft.batch,), draft.nodes),
            own=own[:, -1],
            corrected=torch.zeros(draft.batch, dtype=torch.bool),
            again=Regeneration(self.waves[: draft.batch], uniforms),
        )


def law_after(decoder: AttentionDecoder, tokens: Sequence[int]) -> Tensor:
    """Logits after a row, by a prefill of it alone."""
    ids = torch.tensor([list(tokens)])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return decoder.prefill(inputs, 1, None).logits[0]


def reference(
    decoder: AttentionDecoder,
    prompt: Sequence[int],
    waves: Sequence[int],
    seed: int,
    options: dict[str, Any],
) -> tuple[list[int], list[float]]:
    """A prefill and two rounds by fresh prefills of what stands, and the probability of each."""
    sampling = request([prompt], **options).sampling
    tape = Noise([seed], horizon=sampling.max_new_tokens)
    row, chances = list(prompt), []

    def draw(prefix: Sequence[int]) -> tuple[int, float]:
        logits = law_after(decoder, prefix)
        if sampling.greedy:
            unit = int(logits.argmax())
            return unit, float(logits.float().softmax(-1)[unit])
        place = torch.tensor([[len(prefix) - len(prompt)]])
        law = warp(logits.float(), sampling)
        unit = int(invert_cdf(law, tape.at("target", place)[0, 0]))
        return unit, float(law[unit])

    unit, chance = draw(row)
    row, chances = [*row, unit], [*chances, chance]
    for _ in range(2):
        start = len(row)
        row += [(start * 5 + 3 * step) % VOCAB for step in range(NODES)]
        said = [float(law_of(decoder, sampling, row[:i])[row[i]]) for i in range(start, len(row))]
        unit, chance = draw(row)
        row, said = [*row, unit], [*said, chance]
        for wave in range(max(waves) + 1):
            places = [place for place, own in enumerate(waves) if own == wave]
            drawn = [draw(row[: start + place]) for place in places]
            for place, (unit, chance) in zip(places, drawn, strict=True):
                row[start + place], said[place] = unit, chance
        chances += said
    return row[len(prompt) :], chances


def law_of(decoder: AttentionDecoder, sampling: Any, prefix: Sequence[int]) -> Tensor:
    logits = law_after(decoder, prefix).float()
    return logits.softmax(-1) if sampling.greedy else warp(logits, sampling)


def run(
    waves: Sequence[Sequence[int]], rows: int, options: dict[str, Any]
) -> tuple[list[list[int]], Trace, AttentionDecoder, list[Commit]]:
    decoder = AttentionDecoder(VOCAB)
    engine = Engine(
        TokenTarget(decoder),
        Chain(),
        Again(waves),
        Fixed(Plan(NODES)),
        lookahead=NODES,
        strict=True,
    )
    commits: list[Commit] = []
    out, trace = engine.generate(
        request(PROMPTS[:rows], **options), seeds=range(rows), on_commit=commits.append
    )
    return out, trace, decoder, commits


GREEDY = {"max_new_tokens": 17}
SAMPLED = {"max_new_tokens": 17, "temperature": 1.0, "top_k": 8}


@pytest.mark.parametrize("options", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", WAVES)
def test_every_draw_sees_what_stands_before_it(
    name: str, rows: int, options: dict[str, Any]
) -> None:
    waves = WAVES[name]
    out, trace, decoder, _ = run(waves, rows, options)
    for row in range(rows):
        expected, chances = reference(decoder, PROMPTS[row], waves[row], row, options)
        assert out[row] == expected
        said = [unit.probability for unit in trace.units[row]]
        assert said == pytest.approx(chances, abs=1e-5)


@pytest.mark.parametrize("options", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_all_anew_in_order_is_plain_decoding(options: dict[str, Any]) -> None:
    out, trace, decoder, _ = run(WAVES["serial"], 3, options)
    plain, _ = Engine(TokenTarget(decoder)).generate(request(PROMPTS, **options), seeds=range(3))
    assert out == plain
    # One pass scores the draft and is the first wave; the seven others are further passes.
    assert trace.metrics.target_forwards == 1 + 2 * (1 + 7)
    assert trace.metrics.acceptance_length == 1


@pytest.mark.parametrize("name", WAVES)
def test_the_cache_is_that_of_a_fresh_prefill(name: str) -> None:
    decoder = AttentionDecoder(VOCAB)
    target, rule, noise = TokenTarget(decoder), Again(WAVES[name]), Noise(range(3))
    state, evidence = target.prefill(request(PROMPTS, max_new_tokens=40, lookahead=NODES))
    draft = Draft.empty(3)
    nothing = Draft.empty(3)
    for _ in range(3):
        target.commit(state, draft, evidence, rule.judge(draft, evidence, noise))
        cached = state.cache._buffer.clone()
        pending = state.pending
        after, _ = target.forward(state, nothing)
        for row, tokens in enumerate(state.tokens):
            length = state.host_lengths[row]
            assert torch.allclose(after[row, -1], law_after(decoder, tokens[:length].tolist()))
            good = length - pending
            assert torch.allclose(
                cached[:, :, row, :, :good], state.cache._buffer[:, :, row, :, :good]
            )
        draft = Chain().draft(state, Plan(NODES), noise)
        evidence = target.score(state, draft)


def test_only_what_stands_behind_a_changed_unit_is_run_again() -> None:
    decoder = AttentionDecoder(VOCAB)
    target, noise = TokenTarget(decoder), Noise([0])
    for waves, pending in ((NONE, 1), (LAST, 1), (BACKWARDS, 7), (SERIAL, 1)):
        state, evidence = target.prefill(request([[1, 2]], max_new_tokens=40, lookahead=NODES))
        nothing = Draft.empty(1)
        target.commit(state, nothing, evidence, Match().judge(nothing, evidence, noise))
        draft = Chain().draft(state, Plan(NODES), noise)
        evidence = target.score(state, draft)
        target.commit(state, draft, evidence, Again([waves]).judge(draft, evidence, noise))
        assert state.pending == pending


def test_the_trace_tells_units_and_passes_apart() -> None:
    _, trace, _, commits = run(RAGGED, 3, SAMPLED)
    assert [commit.passes for commit in commits] == [0, 3, 3]
    assert commits[1].regenerated == [[1, 2, 5, 7], [1, 2, 4, 5, 6], []]
    origins = [unit.origin for unit in trace.units[0][1:9]]
    kept, new = "accepted", "regenerated"
    assert origins == [kept, new, new, kept, kept, new, kept, new]
    assert [unit.origin for unit in trace.units[2][1:9]] == [kept] * 7 + ["bonus"]
    assert trace.rounds[1].accepted == (4, 2, 7)
    metrics = trace.metrics
    assert metrics.target_forwards == 1 + 2 * (1 + 3)
    assert metrics.acceptance_length == 8 / 4
    assert metrics.acceptance_rate == (4 + 2 + 7) / 21
    assert trace.acceptance_by_position[1] == pytest.approx(1 / 3)


def test_rows_end_inside_a_round() -> None:
    decoder = AttentionDecoder(VOCAB)
    options = {"max_new_tokens": 30, "temperature": 1.0, "stop_ids": (2, 4)}
    engine = Engine(
        TokenTarget(decoder), Chain(), Again(WAVES["serial"]), Fixed(Plan(NODES)), NODES, True
    )
    prompts = [[1], [6, 7, 3, 5, 1, 1, 1], [8]]
    for seeds in ([1, 2, 3], [4, 5, 6], [7, 8, 9]):
        asked = request(prompts, **options)
        plain, _ = Engine(TokenTarget(decoder)).generate(asked, seeds=seeds)
        assert engine.generate(asked, seeds=seeds)[0] == plain
        assert len({len(row) for row in plain}) > 1


def judged(draft: Draft, accepted: int) -> Verdict:
    waves = torch.full((1, draft.nodes + 1), -1)
    return Verdict(
        path=torch.arange(draft.nodes).unsqueeze(0),
        accepted=torch.tensor([accepted]),
        own=torch.tensor([0]),
        corrected=torch.tensor([False]),
        again=Regeneration(waves, torch.zeros(waves.shape)),
    )


def test_what_cannot_be_regenerated_is_refused() -> None:
    target = TokenTarget(AttentionDecoder(VOCAB))
    noise = Noise([0])
    for options, chain, accepted, error, said in (
        ({}, False, 2, TypeError, "chains"),
        ({}, True, 1, ValueError, "accept the whole chain"),
        ({"repetition_penalty": 1.2}, True, 2, ValueError, "repetition penalties"),
    ):
        asked = request([[1, 2]], max_new_tokens=9, lookahead=2, **options)
        state, evidence = target.prefill(asked)
        nothing = Draft.empty(1)
        target.commit(state, nothing, evidence, Match().judge(nothing, evidence, noise))
        draft = Draft.chain(torch.tensor([[3, 4]]))
        if not chain:
            draft = replace(draft, tree=Tree.static([(0,), (1,)], 1))
        evidence = target.score(state, draft)
        with pytest.raises(error, match=said):
            target.commit(state, draft, evidence, judged(draft, accepted))


def test_logits_that_are_not_finite_are_noticed_in_a_later_wave() -> None:
    decoder = AttentionDecoder(VOCAB)
    target, noise = TokenTarget(decoder), Noise([0])
    state, evidence = target.prefill(request([[1, 2]], max_new_tokens=20, lookahead=NODES))
    nothing = Draft.empty(1)
    target.commit(state, nothing, evidence, Match().judge(nothing, evidence, noise))
    draft = Chain().draft(state, Plan(NODES), noise)
    evidence = target.score(state, draft)
    decoder.head = decoder.head * float("nan")
    with pytest.raises(FloatingPointError):
        target.commit(state, draft, evidence, Again([GAPS]).judge(draft, evidence, noise))
