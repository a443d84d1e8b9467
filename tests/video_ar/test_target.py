"""What a video costs, what its records say, and what happens when a model fails."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
import torch

from mmspec.engine import Engine
from mmspec.rules import Exact
from mmspec.trace import Trace
from tests.video_ar.toy import (
    BLOCKS,
    Brightness,
    ToyDecoder,
    ToyModel,
    engine,
    film,
    request,
    same,
)
from video_ar.reporting import FinishedBlock
from video_ar.routers import DraftOnly, FirstBlock, Forced, Router, Stride, TargetOnly, Threshold
from video_ar.rule import Routed
from video_ar.schedule import few_steps

TAU = 0.55


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("tau", [-math.inf, TAU, math.inf])
def test_evaluations_of_the_target(tau: float, final: bool) -> None:
    target, draft, decoder = ToyModel(0.9), ToyModel(0.2), ToyDecoder()
    schedule = few_steps(final_zero_step=final)
    runner = engine(target, draft, Forced({0}, Threshold(tau)), Brightness(), decoder=decoder)
    made = film(runner, 2, request(schedule=schedule))
    own = BLOCKS - made.decisions.count("accepted")
    assert target.evaluations == (4 + final) * own
    assert sum(record.evaluations for record in made.records) == target.evaluations
    assert sum(record.passes for record in made.records) == len(target.reads) == own - 1
    assert made.trace.metrics.target_forwards == target.evaluations + len(target.reads)
    assert made.trace.acceptance_length == BLOCKS / own
    assert draft.evaluations == (4 + final) * (BLOCKS - 1)
    assert decoder.decoded == BLOCKS + made.decisions.count("regenerated")


def test_one_rollout_of_the_target_where_only_the_first_block_is_its_own() -> None:
    target, draft = ToyModel(0.9), ToyModel(0.2)
    made = film(engine(target, draft, FirstBlock()))
    assert (target.evaluations, target.reads) == (4, [])
    assert (draft.evaluations, draft.reads) == (4 * (BLOCKS - 1), [1] * (BLOCKS - 1))
    assert made.decisions == ["forced"] + ["accepted"] * (BLOCKS - 1)
    assert made.trace.metrics.target_forwards == 4
    assert made.trace.acceptance_length == BLOCKS
    nobody = film(engine(target, draft, DraftOnly())).trace.metrics
    assert (nobody.target_forwards, nobody.acceptance_length) == (0, 0.0)
    assert nobody.acceptance_rate == 1


def test_accepted_blocks_are_read_together() -> None:
    target = ToyModel(0.9)
    made = film(engine(target, ToyModel(0.2), Stride(3)))
    assert target.reads == [3, 3]
    assert [record.passes for record in made.records] == [0, 0, 0, 1, 0, 0, 1]


def test_the_plain_loop_asks_no_drafter() -> None:
    target, draft = ToyModel(0.9), ToyModel(0.2)
    runner = engine(target, draft, Forced({0}, Threshold(TAU)), Brightness())
    plain = film(runner.plain())
    assert draft.evaluations == 0
    assert plain.decisions == ["forced"] * BLOCKS
    assert same(plain, film(engine(ToyModel(0.9), draft, TargetOnly())))


def test_records_are_plain_values_and_add_up() -> None:
    made = film(engine(ToyModel(0.9), ToyModel(0.2), Forced({0}, Threshold(TAU)), Brightness()), 2)
    told = json.loads(json.dumps(made.trace.to_json()))
    assert [unit["unit"]["block"] for unit in told["units"][0]] == list(range(BLOCKS))
    assert [unit["unit"]["decision"] for unit in told["units"][0]] == made.decisions
    origins = {"forced": "target", "accepted": "accepted", "regenerated": "corrected"}
    assert [unit["origin"] for unit in told["units"][0]] == [origins[d] for d in made.decisions]
    assert [record.frames for record in made.records] == [9] + [12] * (BLOCKS - 1)
    scored = [record for record in made.records if record.score is not None]
    assert [record.block for record in scored] == list(range(1, BLOCKS))
    assert all((record.score >= TAU) == (record.decision == "accepted") for record in scored)
    stages = [set(asdict(record)["seconds"]) for record in made.records]
    assert stages[0] == {"decode", "target"}
    for record, stage in zip(made.records[1:], stages[1:], strict=True):
        refused = {"target"} if record.decision == "regenerated" else set()
        assert stage == {"draft", "decode", "score"} | refused
    metrics = made.trace.metrics
    assert metrics.tokens == metrics.rounds == BLOCKS
    assert metrics.acceptance_rate == made.decisions.count("accepted") / (BLOCKS - 1)
    assert 0 < metrics.first_token_seconds < metrics.seconds


def failing(at: int, **how: Any) -> ToyModel:
    model = ToyModel(0.9)
    model.fail_at = at
    for name, value in how.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("how", "said"), [({"error": RuntimeError("no")}, "raised"), ({"value": math.inf}, "finite")]
)
@pytest.mark.parametrize("router", [DraftOnly(), Forced({0}, Threshold(-math.inf))])
def test_a_drafter_that_fails_leaves_the_rest_to_the_target(
    router: Router, how: dict[str, Any], said: str
) -> None:
    scorer = Brightness() if router.needs_scores else None
    made = film(engine(ToyModel(0.9), failing(3, **how), router, scorer))
    assert made.decisions[1:3] == ["accepted"] * 2
    assert set(made.decisions[3:]) <= {"forced", "regenerated"}
    assert any(said in note for note in made.trace.notes)
    assert bool(made.latents.isfinite().all())


def test_memory_that_runs_out_names_what_is_done_and_keeps_it() -> None:
    target = failing(4, error=torch.OutOfMemoryError("full"))
    runner = engine(target, ToyModel(0.2), Stride(2))
    kept: list[FinishedBlock] = []
    stream = runner.stream(request(), Trace(), [0])
    with pytest.raises(torch.OutOfMemoryError, match="block 4 of 7; blocks 0 to 3 are committed"):
        _ = [kept.extend(commit.made) for commit in stream]  # type: ignore[func-returns-value]
    whole = film(engine(ToyModel(0.9), ToyModel(0.2), Stride(2)))
    assert torch.equal(torch.cat([block.latents for block in kept], 2), whole.latents[:, :, :12])
    with pytest.raises(torch.OutOfMemoryError, match="none is done"):
        film(engine(failing(0, error=torch.OutOfMemoryError("full")), ToyModel(0.2), Stride(2)))


def test_a_target_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(FloatingPointError, match="block 2"):
        film(engine(failing(2, value=math.nan), ToyModel(0.2), TargetOnly()))


def test_wrong_uses_are_refused() -> None:
    model = ToyModel(0.9)
    with pytest.raises(ValueError, match="give it a scorer"):
        Routed(Threshold(0.0))
    with pytest.raises(ValueError, match="stitch must be"):
        Routed(TargetOnly(), start_step=-1)
    with pytest.raises(ValueError, match="give 0 to 4"):
        film(engine(model, model, TargetOnly(), start_step=5))
    runner = engine(model, model, TargetOnly())
    with pytest.raises(ValueError, match="Routed"):
        film(Engine(runner.target, rule=Exact()))
    with pytest.raises(ValueError, match="no noise"):
        runner.target.prefill(request())
    with pytest.raises(ValueError, match="blocks"):
        request(blocks=0)
    with pytest.raises(ValueError, match="temporal=2"):
        film(runner, 0, request(temporal=2))
    with pytest.raises(ValueError, match="2 seeds given for 1 rows"):
        list(runner.stream(request(), Trace(), [1, 2]))
