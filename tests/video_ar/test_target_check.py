"""The target in the drafter's loop: its word costs one evaluation, which is never made twice."""

from __future__ import annotations

import math

import pytest
import torch

from mmspec.messages import Draft
from tests.video_ar.toy import (
    BLOCKS,
    SHAPE,
    Film,
    ToyDecoder,
    ToyModel,
    engine,
    film,
    request,
    same,
)
from video_ar.agreement import Agreement
from video_ar.drafter import BlockDrafter
from video_ar.noise import BlockNoise
from video_ar.rollout import predict, rollout
from video_ar.routers import Budget, FirstBlock, Forced, TargetCheck, TargetOnly, Threshold
from video_ar.schedule import few_steps
from video_ar.state import VideoState

STEPS = len(few_steps())
SPLITS = -0.49  # splits the toy's drafts about evenly


def run(
    tau: float,
    step: int = 2,
    stitch: int = 0,
    seed: int = 0,
    strengths: tuple[float, float] = (0.9, 0.2),
) -> tuple[Film, ToyModel]:
    target, draft = map(ToyModel, strengths)
    router = Forced({0}, TargetCheck(tau, step))
    return film(engine(target, draft, router, start_step=stitch), seed), target


def plain(seed: int = 0) -> Film:
    return film(engine(ToyModel(0.9), ToyModel(0.2), TargetOnly()), seed)


def stitched(step: int, seed: int = 0) -> Film:
    """All drafts refused without anybody looking."""
    refuse = Forced({0}, Threshold(math.inf))
    scorer = type("None", (), {"context": 0, "score": lambda self, frames, _: frames[:, 0, 0, 0]})
    return film(engine(ToyModel(0.9), ToyModel(0.2), refuse, scorer(), step), seed)


@pytest.mark.parametrize("step", range(STEPS))
def test_a_known_evaluation_changes_no_bit(step: int) -> None:
    noise, schedule = BlockNoise([3]).steps(0, SHAPE), few_steps()
    draft = rollout(ToyModel(0.2), [], noise(0), noise, schedule)
    target, state = ToyModel(0.9), draft.state(step)
    known = predict(target, [], state, schedule, step)
    anew = rollout(target, [], state, noise, schedule, step)
    target.evaluations = 0
    reused = rollout(target, [], state, noise, schedule, step, known)
    assert torch.equal(reused.x0, anew.x0)
    assert torch.equal(reused.prediction(step), known)
    assert target.evaluations == reused.evaluations == anew.evaluations - 1 == STEPS - step - 1
    wrong = rollout(target, [], state, noise, schedule, step, known + 0.1)
    assert not torch.isclose(wrong.x0, anew.x0).all()


@pytest.mark.parametrize("step", range(STEPS))
def test_infinite_thresholds(step: int) -> None:
    assert same(run(math.inf, step, seed=1)[0], plain(1))
    kept, target = run(-math.inf, step, seed=1)
    assert same(kept, film(engine(ToyModel(0.9), ToyModel(0.2), FirstBlock()), 1))
    assert kept.decisions == ["forced"] + ["accepted"] * (BLOCKS - 1)
    assert target.evaluations == STEPS + BLOCKS - 1


@pytest.mark.parametrize("step", range(STEPS))
def test_refused_blocks_go_on_from_the_check(step: int) -> None:
    """Bit for bit what stitching without a check makes, at no more evaluations."""
    reused, target = run(math.inf, step, step, seed=4)
    assert same(reused, stitched(step, 4))
    assert target.evaluations == STEPS + (BLOCKS - 1) * (STEPS - step)
    assert [record.start_step for record in reused.records] == [0] + [step] * (BLOCKS - 1)
    if step:
        anew, without = run(math.inf, step, 0, seed=4)
        assert without.evaluations == STEPS + (BLOCKS - 1) * (STEPS + 1)
        assert not torch.isclose(anew.latents, reused.latents).all()


def test_a_check_before_the_first_step_is_never_in_vain() -> None:
    refused, target = run(math.inf, step=0, seed=6)
    assert same(refused, plain(6))
    assert target.evaluations == STEPS * BLOCKS


def test_models_that_are_one_agree_in_full() -> None:
    for step in range(STEPS):
        twins, _ = run(0.0, step, step, strengths=(0.9, 0.9))
        assert {record.score for record in twins.records[1:]} == {0.0}
        assert set(twins.decisions[1:]) == {"accepted"}
        assert same(twins, plain())


def test_the_first_refusal_is_monotone_in_the_threshold() -> None:
    found = set()
    for seed in range(4):
        taus = (-math.inf, -0.6, -0.55, SPLITS, -0.47, -0.42, math.inf)
        firsts = [run(tau, seed=seed)[0].first_refusal for tau in taus]
        assert firsts == sorted(firsts, reverse=True)
        found.update(firsts)
    assert len(found) > 2


def test_the_score_is_the_worst_frame_s_relative_distance() -> None:
    step, noise, schedule = 2, BlockNoise([0]).steps(1, SHAPE), few_steps()
    made, _ = run(-math.inf, step)
    past = [made.latents[:, :, :3]]
    draft = rollout(ToyModel(0.2), past, noise(0), noise, schedule)
    seen = predict(ToyModel(0.9), past, draft.states[step], schedule, step)
    frames = [
        -float((draft.clean[step] - seen)[:, :, frame].norm() / seen[:, :, frame].norm())
        for frame in range(SHAPE[1])
    ]
    assert made.records[1].score == pytest.approx(min(frames), rel=1e-5)
    assert min(frames) < max(frames) < 0


def test_what_it_costs_is_on_record() -> None:
    made, target = run(SPLITS, seed=2)
    assert set(made.decisions) == {"forced", "accepted", "regenerated"}
    assert sum(record.evaluations for record in made.records) == target.evaluations
    assert sum(record.passes for record in made.records) == len(target.reads) == BLOCKS - 1
    assert [record.checks for record in made.records] == [0] + [1] * (BLOCKS - 1)
    for record in made.records[1:]:
        own = STEPS * (record.decision == "regenerated")
        assert record.evaluations == 1 + own
        assert record.seconds["check"] > 0
        assert "score" not in record.seconds
    assert "check" not in made.records[0].seconds


def test_checks_count_as_time_of_the_target() -> None:
    target, draft = ToyModel(0.9), ToyModel(0.2)
    router = Forced({0}, Budget(seconds=0.0, inner=TargetCheck(-math.inf)))
    spent = film(engine(target, draft, router))
    assert all(record.checks == 0 for record in spent.records)
    state = VideoState(target, request(noise=BlockNoise([0])))
    made = rollout(
        draft, [], state.request.noise.at(0, 0, SHAPE), BlockNoise([0]).steps(0, SHAPE), few_steps()
    )
    told = Agreement(state, made)
    told.of(1)
    assert state.target_seconds == told.seconds["check"] > 0
    assert told.prediction(1) is not None
    assert told.prediction(2) is None


def test_nothing_is_decoded_for_a_check() -> None:
    decoder = ToyDecoder()
    router = Forced({0}, TargetCheck(SPLITS))
    runner = engine(ToyModel(0.9), ToyModel(0.2), router, decoder=decoder)
    bare = film(runner, 2, request(decode=False))
    assert decoder.decoded == 0
    assert torch.equal(bare.latents, run(SPLITS, seed=2)[0].latents)


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(ValueError, match="step=4 is beyond the 4 steps of a block; give 0 to 3"):
        run(0.0, step=4)

    class Silent(BlockDrafter):
        def draft(self, *args: object) -> Draft:
            draft = super().draft(*args)  # type: ignore[arg-type]
            return Draft.chain(draft.units, source="silent") if draft.nodes else draft

    runner = engine(ToyModel(0.9), ToyModel(0.2), TargetCheck(0.0))
    runner.drafter = Silent(ToyModel(0.2))
    with pytest.raises(ValueError, match="tells nothing of its steps"):
        film(runner)
    full = ToyModel(0.9)
    full.fail_at, full.error = 3, torch.OutOfMemoryError("full")
    with pytest.raises(torch.OutOfMemoryError, match="block 3 of 7; blocks 0 to 2 are committed"):
        film(engine(full, ToyModel(0.2), TargetCheck(-math.inf)))
    broken = ToyModel(0.9)
    broken.fail_at = 3
    with pytest.raises(FloatingPointError, match="block 3"):
        film(engine(broken, ToyModel(0.2), TargetCheck(-math.inf)))
