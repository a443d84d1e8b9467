"""Video in the one loop: identities that hold bit for bit, whatever the router."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mmspec.messages import Plan
from mmspec.pacing import Fixed
from tests.video_ar.toy import (
    BLOCKS,
    SHAPE,
    Brightness,
    Film,
    ToyDecoder,
    ToyModel,
    engine,
    film,
    request,
    same,
)
from video_ar.noise import BlockNoise
from video_ar.rewards.motion import TemporalSeam
from video_ar.rollout import rollout
from video_ar.routers import (
    Budget,
    Cascade,
    DraftOnly,
    FirstBlock,
    Forced,
    Quantile,
    Random,
    Relative,
    Router,
    Stride,
    TargetOnly,
    Threshold,
)
from video_ar.schedule import few_steps

TAU = 0.55  # splits the toy's scores about evenly


def run(
    router: Router, seed: int = 0, strengths: tuple[float, float] = (0.9, 0.2), **rest: Any
) -> Film:
    target, draft = map(ToyModel, strengths)
    scorer = Brightness() if router.needs_scores else None
    return film(engine(target, draft, router, scorer, **rest), seed)


def by_hand(writers: str, seed: int = 0) -> torch.Tensor:
    """Latents of the composition in which ``t`` and ``d`` say who writes each block."""
    models = {"t": ToyModel(0.9), "d": ToyModel(0.2)}
    done: list[torch.Tensor] = []
    for block, writer in enumerate(writers):
        noise = BlockNoise([seed]).steps(block, SHAPE)
        done.append(rollout(models[writer], done, noise(0), noise, few_steps()).x0)
    return torch.cat(done, 2)


ROUTERS: list[Router] = [
    TargetOnly(),
    DraftOnly(),
    FirstBlock(),
    Random(0.5),
    Stride(3),
    Budget(2),
    Threshold(TAU),
    Threshold(TAU, "mean"),
    Quantile(),
    Cascade(TAU),
    Forced({0}, Threshold(TAU)),
    Forced({0, 3}, Cascade(TAU, band=0.01)),
    Relative(Threshold(0.0)),
    Forced({0}, Relative(Cascade(-0.02))),
]


def test_the_compositions_that_a_router_names() -> None:
    """The whole video against blocks made by hand: no cache, no loop."""
    cases = {
        "ttttttt": TargetOnly(),
        "ddddddd": DraftOnly(),
        "tdddddd": FirstBlock(),
        "tddtddt": Stride(3),
        "ttddddd": Budget(2),
    }
    for writers, router in cases.items():
        assert torch.equal(run(router, seed=4).latents, by_hand(writers, seed=4))
    assert not torch.isclose(by_hand("ttttttt", 4), by_hand("tdddddd", 4)).all()


@pytest.mark.parametrize("forced", [False, True])
def test_infinite_thresholds(forced: bool) -> None:
    def made(tau: float) -> Film:
        inner = Threshold(tau)
        return run(Forced({0}, inner) if forced else inner, seed=1)

    assert same(made(math.inf), run(TargetOnly(), seed=1))
    assert same(made(-math.inf), run(FirstBlock() if forced else DraftOnly(), seed=1))


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.name)
@pytest.mark.parametrize("start_step", [0, 2])
def test_a_drafter_that_is_the_target_changes_nothing(router: Router, start_step: int) -> None:
    plain = run(TargetOnly(), seed=2)
    twins = run(router, seed=2, strengths=(0.9, 0.9), start_step=start_step)
    assert same(twins, plain)


def test_routers_mix_on_the_toy() -> None:
    """Otherwise the identities above would say nothing."""
    seen = {what for seed in range(4) for what in run(Threshold(TAU), seed).decisions[1:]}
    assert seen == {"accepted", "regenerated"}


def test_the_first_refusal_is_monotone_in_the_threshold() -> None:
    taus = [-math.inf, 0.3, 0.45, 0.5, 0.55, 0.6, 0.7, math.inf]
    counts = set()
    for seed in range(5):
        films = [run(Forced({0}, Threshold(tau)), seed) for tau in taus]
        firsts = [one.first_refusal for one in films]
        assert firsts == sorted(firsts, reverse=True)
        counts.update(firsts)
    assert len(counts) > 2


@pytest.mark.parametrize("tau", [-0.05, 0.0, 0.02])
def test_relative_scores_count_from_the_last_block_of_the_target(tau: float) -> None:
    """Every decision against scores read off the finished pictures, without any state."""
    decisions = set()
    for seed in range(4):
        made = run(Relative(Threshold(tau)), seed)
        assert made.records[0].decision == "forced"  # nothing to compare with, so nothing drafted
        reference = math.nan
        for record, block in zip(made.records, made.blocks, strict=True):
            assert block.pictures is not None
            pictures = block.pictures[0].transpose(0, 1).add(1).div(2)
            worst = float(Brightness().score(pictures, "").min())
            if record.decision == "accepted":
                assert record.score == pytest.approx(worst - reference, abs=1e-6)
                assert worst - reference >= tau
            else:
                assert record.score is None or record.score < tau
                reference = worst
            decisions.add(record.decision)
    assert decisions == {"forced", "accepted", "regenerated"}


def test_the_reference_is_scored_once_and_only_when_asked_for() -> None:
    scorer, plain = Brightness(), Brightness()
    models = ToyModel(0.9), ToyModel(0.2)
    relative = film(engine(*models, Forced({0}, Relative(Threshold(-math.inf))), scorer))
    film(engine(*models, Forced({0}, Threshold(-math.inf)), plain))
    assert scorer.scored == plain.scored + relative.records[0].frames
    assert "score" not in relative.records[0].seconds  # counted where it was asked for
    assert "score" in relative.records[1].seconds


def test_the_strictest_aggregate_refuses_first() -> None:
    for seed in range(6):
        least = run(Threshold(TAU, "min"), seed).first_refusal
        assert least <= run(Threshold(TAU, "mean"), seed).first_refusal


@pytest.mark.parametrize("order", [None, tuple(range(12)), tuple(reversed(range(12)))])
def test_the_sound_cascade_decides_as_full_scoring(order: tuple[int, ...] | None) -> None:
    refused = spared = 0
    for seed in range(5):
        full = run(Forced({0}, Threshold(TAU)), seed)
        scorer = Brightness()
        quick = film(
            engine(
                ToyModel(0.9),
                ToyModel(0.2),
                Forced({0}, Cascade(TAU, group=2, order=order)),
                scorer,
            ),
            seed,
        )
        assert same(quick, full)
        assert quick.decisions == full.decisions
        refused += full.decisions.count("regenerated")
        spared += 12 * (BLOCKS - 1) - scorer.scored
    assert refused
    assert spared > 0


def test_stitching_from_the_start_and_from_the_end() -> None:
    for seed in range(4):
        router = Forced({0}, Threshold(TAU))
        assert same(run(router, seed, start_step=0), run(router, seed))
        assert same(run(router, seed, start_step=4), run(FirstBlock(), seed))
    refuse = Forced({0}, Threshold(math.inf))
    assert same(run(refuse, start_step=4), run(FirstBlock()))
    between = run(refuse, start_step=3)
    assert not torch.isclose(between.latents, run(TargetOnly()).latents).all()
    assert not torch.isclose(between.latents, run(FirstBlock()).latents).all()
    assert [record.start_step for record in between.records] == [0] + [3] * (BLOCKS - 1)
    assert [record.evaluations for record in between.records] == [4] + [1] * (BLOCKS - 1)


def test_the_first_block_is_never_stitched() -> None:
    drafted = run(Threshold(math.inf), start_step=3)
    assert drafted.records[0].decision == "regenerated"
    assert drafted.records[0].start_step == 0
    assert same(drafted, run(Forced({0}, Threshold(math.inf)), start_step=3))


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.name)
def test_reading_late_or_at_once_gives_one_video(router: Router) -> None:
    def made(eager: bool) -> tuple[Film, ToyModel]:
        target = ToyModel(0.9)
        scorer = Brightness() if router.needs_scores else None
        runner = engine(target, ToyModel(0.2), router, scorer)
        return film(runner, 3, request(eager=eager)), target

    (late, lazy), (early, eager) = made(False), made(True)
    assert same(late, early)
    assert eager.reads == [1] * BLOCKS
    assert sum(lazy.reads) < BLOCKS
    assert len(lazy.reads) <= len(eager.reads)


def test_what_a_router_knows_beforehand_is_never_drafted() -> None:
    """Whether or not the pacer spares the draft, the video is one."""
    for router in (Stride(2), Forced({0, 2}, Threshold(TAU)), TargetOnly()):
        asked = run(router, seed=5)
        blind = run(router, seed=5, pacer=Fixed(Plan(length=1)))
        assert same(asked, blind)
        assert "forced" not in blind.decisions
        assert asked.decisions.count("forced") > 0
        assert asked.records[0].score is None
        assert "draft" not in asked.records[0].seconds


def test_seams_are_scored_with_the_pictures_before() -> None:
    def routed(tau: float, seed: int) -> Film:
        router = Forced({0}, Threshold(tau))
        return film(engine(ToyModel(0.9), ToyModel(0.2), router, TemporalSeam()), seed)

    scores = [record.score for record in routed(-math.inf, 0).records[1:]]
    one = routed(sorted(score for score in scores if score is not None)[BLOCKS // 2 - 1], 0)
    assert set(one.decisions) == {"forced", "accepted", "regenerated"}
    assert one.pictures is not None
    shown = ((one.pictures[0].transpose(0, 1) + 1) / 2).float()
    scorer = TemporalSeam()
    accepted = [record for record in one.records if record.decision == "accepted"]
    for record in accepted:
        start = 9 + 12 * (record.block - 1)
        around = scorer.score(shown[start - scorer.context : start + 12], "")[scorer.context :]
        assert record.score == pytest.approx(float(around.min()), abs=1e-5)
    assert accepted


def test_the_seed_decides() -> None:
    router = Forced({0}, Threshold(TAU))
    assert same(run(router, 7), run(router, 7))
    assert not torch.isclose(run(router, 7).latents, run(router, 8).latents).any()


def test_without_pictures_nothing_is_decoded() -> None:
    decoder = ToyDecoder()
    runner = engine(ToyModel(0.9), ToyModel(0.2), FirstBlock(), decoder=decoder)
    bare = film(runner, 0, request(decode=False))
    assert decoder.decoded == 0
    assert bare.pictures is None
    assert torch.equal(bare.latents, run(FirstBlock()).latents)
