"""Records of a run: who wrote what, and honest sums."""

from __future__ import annotations

import json

import pytest
import torch

from mmspec.engine import Engine
from mmspec.messages import Commit, Plan
from mmspec.pacing import Fixed
from mmspec.token_target import TokenTarget
from mmspec.trace import Trace, in_order
from tests.core.toy import AttentionDecoder, FixedTree, Oracle, random_laws, request


def commit_of(**changes: object) -> Commit:
    base = {
        "units": [[5, 6, 7], [8]],
        "accepted": [2, 0],
        "corrected": [False, True],
        "probability": [[0.9, 0.8, 0.7], [0.2]],
        "drafted": [3, 3],
        "depth": 2,
        "finished": [False, False],
        "active": [True, True],
    }
    return Commit(**{**base, **changes})  # type: ignore[arg-type]


def test_who_wrote_each_unit() -> None:
    trace = Trace()
    trace.begin(2)
    with trace.clock("prefill"):
        pass
    nothing = {"accepted": [0, 0], "corrected": [False, False], "drafted": [0, 0], "depth": 0}
    trace.record(commit_of(units=[[1], [2]], probability=[[1.0], [1.0]], **nothing), "none")
    trace.record(commit_of(), "toy")
    origins = [[unit.origin for unit in row] for row in trace.units]
    assert origins == [["target", "accepted", "accepted", "bonus"], ["target", "corrected"]]
    assert [unit.unit for unit in trace.units[0]] == [1, 5, 6, 7]
    assert [unit.round for unit in trace.units[0]] == [0, 1, 1, 1]
    assert [unit.probability for unit in trace.units[1]] == [1.0, 0.2]


def test_units_out_of_order_know_their_places() -> None:
    trace = Trace()
    trace.begin(2)
    trace.record(commit_of(places=[[2, 0, 1], [1]]), "toy")
    trace.record(commit_of(units=[[4], [9]], probability=[[1.0], [1.0]], places=[[3], [0]]), "toy")
    assert [[record.unit for record in in_order(row)] for row in trace.units] == [
        [6, 7, 5, 4],
        [9, 8],
    ]


def test_scores_that_are_not_finite_are_counted() -> None:
    trace = Trace()
    trace.begin(2)
    trace.record(commit_of(scores=[[0.5, float("nan")], [float("-inf")]]), "toy")
    assert len(trace.scores) == 3
    assert trace.unjudged == 2


def test_sums_count_active_rows_and_the_bonus() -> None:
    trace = Trace()
    trace.begin(2)
    trace.record(commit_of(), "toy")
    trace.record(
        commit_of(
            units=[[], [3, 4]], probability=[[], [1.0, 1.0]], accepted=[0, 1], active=[False, True]
        ),
        "toy",
    )
    metrics = trace.metrics
    assert metrics.tokens == 6
    assert metrics.rounds == 2
    assert metrics.acceptance_length == pytest.approx(6 / 3)
    assert metrics.acceptance_rate == pytest.approx(3 / 6)
    assert trace.acceptance_by_position == pytest.approx([2 / 3, 1 / 3])


def run_of(plan: Plan, drafter: object, **options: object) -> tuple[list[list[int]], Trace]:
    engine = Engine(
        TokenTarget(AttentionDecoder(5)), drafter, pacer=Fixed(plan), lookahead=9, strict=True
    )  # type: ignore[arg-type]
    asked = request([[1, 2], [3]], max_new_tokens=16, **options)
    return engine.generate(asked, seeds=[1, 2])


def test_a_real_run_adds_up() -> None:
    table = random_laws(5, 5, 3)
    outputs, trace = run_of(Plan(2, 2, 4), FixedTree(table, [[0], [1], [0, 0], [1, 0]]))
    metrics = trace.metrics
    assert [[u.unit for u in row] for row in trace.units] == outputs
    assert metrics.tokens == 32
    assert metrics.target_forwards == metrics.rounds + 1 == len(trace.rounds)
    kept = sum(sum(record.accepted) for record in trace.rounds)
    assert kept == sum(u.origin == "accepted" for row in trace.units for u in row)
    assert sum(record.emitted for record in trace.rounds) == 32
    phases = ("prefill", "draft", "verify", "judge", "commit")
    spent = sum(getattr(metrics, f"{phase}_seconds") for phase in phases)
    assert 0 < spent <= metrics.seconds
    assert 0 < metrics.first_token_seconds < metrics.seconds


def test_plain_decoding_has_acceptance_length_one() -> None:
    outputs, _ = run_of(Plan(0), Oracle([[], []], 5))
    engine = Engine(TokenTarget(AttentionDecoder(5)))
    again, trace = engine.generate(request([[1, 2], [3]], max_new_tokens=16), seeds=[1, 2])
    assert again == outputs
    assert trace.acceptance_length == 1
    assert trace.acceptance_by_position == []
    assert {u.origin for row in trace.units for u in row} == {"target"}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_probabilities_are_the_targets(temperature: float) -> None:
    """Each unit's recorded probability against a fresh prefill of its prefix."""
    table = random_laws(5, 5, 3)
    drafter = FixedTree(table, [[0], [1], [0, 0], [1, 0]])
    outputs, trace = run_of(Plan(2, 2, 4), drafter, temperature=temperature)
    target = TokenTarget(AttentionDecoder(5))
    for row, prompt in enumerate([[1, 2], [3]]):
        for place, unit in enumerate(trace.units[row]):
            whole = prompt + outputs[row][:place]
            _, evidence = target.prefill(request([whole], temperature=1.0))
            expected = evidence.law.probability(torch.tensor([[0]]), torch.tensor([[unit.unit]]))
            assert unit.probability == pytest.approx(float(expected), abs=1e-5)


def test_several_batches_share_a_trace() -> None:
    engine = Engine(TokenTarget(AttentionDecoder(5)))
    trace = Trace()
    for prompts in ([[1, 2], [3]], [[4]]):
        engine.generate(request(prompts, max_new_tokens=6), trace)
    assert [len(row) for row in trace.units] == [6, 6, 6]
    assert trace.metrics.target_forwards == 12


def test_to_json_is_plain() -> None:
    _, trace = run_of(Plan(2), Oracle([[0] * 20, [1] * 20], 5))
    document = json.loads(json.dumps(trace.to_json(), allow_nan=False))
    assert document["metrics"]["tokens"] == 32
    assert len(document["units"]) == 2
    assert document["units"][0][0]["origin"] == "target"
    assert len(document["rounds"]) == len(trace.rounds)


def test_forced_units_are_nobodys_merit() -> None:
    trace = Trace()
    trace.begin(2)
    # Places 1 and 2 of row 0 are forced, the second of them behind the draft; in row 1 place 0 is.
    trace.record(commit_of(forced=[[1, 2], [0]]), "toy")
    origins = [[unit.origin for unit in row] for row in trace.units]
    assert origins == [["accepted", "target", "target"], ["target"]]
    assert trace.rounds[0].accepted == (1, 0)
    assert trace.acceptance_by_position == [1.0, 0.0]
    assert trace.metrics.acceptance_rate == pytest.approx(1 / 2)
    assert trace.metrics.acceptance_length == pytest.approx(4 / 2)


def test_a_target_says_which_units_were_forced() -> None:
    decoder = AttentionDecoder(vocab=6)
    forced = {1: 3, 4: 2, 5: 5}
    asked = request([[1, 2]], max_new_tokens=7, forced_ids=tuple(forced.items()))
    plain = Engine(TokenTarget(decoder)).generate(asked)[0]
    trace = Trace()
    drafter = Oracle(plain, 6)
    engine = Engine(TokenTarget(decoder), drafter, pacer=Fixed(Plan(3)), lookahead=3)
    assert engine.generate(asked, trace)[0] == plain
    origins = [unit.origin for unit in trace.units[0]]
    assert [place for place, origin in enumerate(origins) if origin == "target"] == [0, 1, 4, 5]
    assert trace.rounds[1].accepted == (2,)
    assert [plain[0][place] for place in forced] == list(forced.values())
