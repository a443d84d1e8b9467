"""Video methods by name: their rules, their options and the engines made of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmspec import catalog
from mmspec.assembly import Recipe
from mmspec.pacing import Plain
from tests.video_ar.toy import BLOCKS, SHAPE, Brightness, ToyDecoder, ToyModel, film, same
from video_ar.noise import BlockNoise
from video_ar.pacing import AskRouter
from video_ar.rewards.motion import TemporalSeam
from video_ar.rollout import rollout
from video_ar.routers import (
    Cascade,
    Forced,
    Quantile,
    Random,
    Relative,
    Stride,
    TargetCheck,
    Threshold,
)
from video_ar.schedule import few_steps
from video_ar.target import BlockTarget

STILL: dict[str, Any] = {"scorer": "negative-total-variation", "threshold": -0.6}
DRAFTING = [row for row in catalog.methods("video") if row.build]


def target(strength: float = 0.9) -> BlockTarget:
    return BlockTarget(ToyModel(strength), ToyDecoder())


def made(method: str, strengths: tuple[float, float] = (0.9, 0.2), **options: Any) -> Any:
    drafter = target(strengths[1]) if catalog.get(method, "video").build else None
    recipe = Recipe.choose(method, drafter, family="video", strict=True, **options)
    return recipe.engine(target(strengths[0]), lambda path: path)


def rule(method: str, **options: Any) -> Any:
    return made(method, **options).rule


@pytest.mark.parametrize("row", DRAFTING, ids=lambda row: row.name)
def test_every_method_runs_and_keeps_its_word(row: catalog.Method) -> None:
    plain = film(made("none"), 3)
    options = STILL if "scorer" in row.rule_options else {}
    engine = made(row.name, **options)
    assert isinstance(engine.pacer, AskRouter)
    assert not row.lossless
    assert engine.rule.certificate.kind == "lossy"
    drawn = film(engine, 3)
    assert (drawn.records[0].decision == "forced") == (row.name != "draft-only")
    assert not drawn.trace.notes
    twins = film(made(row.name, (0.9, 0.9), **options), 3)
    assert same(twins, plain)
    assert same(film(engine.plain(), 3), plain)


@pytest.mark.parametrize("method", ["first-block", "sdvg-hybrid", "target-check"])
def test_a_drafter_in_fewer_steps(method: str) -> None:
    """Fewer evaluations of the drafter; refused blocks are still the target's own."""
    drafter = target(0.2)
    options = {**STILL, "threshold": 9.0} if method == "sdvg-hybrid" else {}
    recipe = Recipe.choose(method, drafter, family="video", strict=True, draft_steps=1, **options)
    drawn = film(recipe.engine(target(), lambda path: path), 3)
    drafts = sum("draft" in record.seconds for record in drawn.records)
    assert drafter.model.evaluations == drafts == BLOCKS - 1
    if method == "sdvg-hybrid":
        again = film(made(method, stitch=0, draft_steps=1, **options), 3)
        assert same(again, film(made("none"), 3))


def test_the_target_mends_refused_drafts_in_fewer_steps() -> None:
    """The first block in all steps, every refused one in as many as said, from its own noise."""
    whole = film(made("none"), 3)
    assert same(film(made("sdvg", target_steps=4, **{**STILL, "threshold": 9.0}), 3), whole)
    few = film(made("sdvg", target_steps=1, **{**STILL, "threshold": 9.0}), 3)
    assert [record.evaluations for record in few.records] == [4] + [1] * (BLOCKS - 1)
    assert few.decisions == ["forced"] + ["regenerated"] * (BLOCKS - 1)
    by_target, context = ToyModel(0.9), [block.latents for block in few.blocks[:1]]
    noise = BlockNoise([3]).steps(1, SHAPE)
    alone = rollout(by_target, context, noise(0), noise, few_steps(), steps=1)
    assert torch.equal(few.blocks[1].latents, alone.x0)
    assert not torch.equal(few.blocks[1].latents, whole.blocks[1].latents)


def test_plain_decoding_is_exact() -> None:
    engine = made("none")
    assert isinstance(engine.pacer, Plain)
    assert engine.rule.certificate.kind == "exact"
    assert film(engine).decisions == ["forced"] * BLOCKS


def test_options_reach_the_routers() -> None:
    assert rule("random", rate=0.3, router_seed=5).router == Forced({0}, Random(0.3, 5))
    assert made("first-block", draft_steps=2).drafter.steps == 2
    assert made("first-block").drafter.steps is None
    relative = {"scorer": "sharpness", "relative": True}
    assert rule("sdvg", **relative).router == Forced({0}, Relative(Threshold(0.0)))
    relative["threshold"] = -0.5
    assert rule("sdvg-hybrid", **relative).router == Forced({0}, Relative(Cascade(-0.5)))
    with pytest.raises(ValueError, match="relative or accept_rate"):
        rule("sdvg", scorer="sharpness", relative=True, accept_rate=0.5)
    assert rule("random", forced=()).router == Random(0.7)
    assert rule("stride", k=4, phase=2).router == Stride(4, 2)
    assert rule("budget", target_seconds=3.0).router.seconds == 3.0
    assert rule("budget").router.max_target_blocks == 2
    scorer = Brightness()
    sdvg = rule("sdvg", scorer=scorer, threshold=1, aggregate="mean", forced=(0, 2), stitch=2)
    assert sdvg.router == Forced({0, 2}, Threshold(1.0, "mean"))
    assert sdvg.scorer is scorer
    assert sdvg.start_step == 2
    rated = rule("sdvg", scorer="sharpness", accept_rate=0.5).router
    assert rated == Forced({0}, Quantile(0.5, forced=1))
    hybrid = rule("sdvg-hybrid", scorer="flicker", threshold=-1.0, group=2, band=0.1)
    assert hybrid.router == Forced({0}, Cascade(-1.0, 2, 0.1))
    assert hybrid.start_step == 3
    assert rule("temporal-seam", threshold=-2).router == Forced({0}, Threshold(-2.0))
    check = rule("target-check", threshold=-1, step=1, aggregate="mean", forced=(1,))
    assert check.router == Forced({1}, TargetCheck(-1.0, 1, "mean"))
    assert check.start_step == 1
    assert rule("target-check", stitch=0).start_step == 0
    default = rule("target-check")
    assert default.router == Forced({0}, TargetCheck(-0.5, 2))
    assert default.start_step == 2


def test_the_published_threshold_is_for_its_scorer_only() -> None:
    scorer = Brightness()
    with pytest.raises(ValueError, match="threshold= for scorer 'brightness'"):
        rule("sdvg", scorer=scorer)
    scorer.name = "image-reward"
    assert rule("sdvg", scorer=scorer).router == Forced({0}, Threshold(-0.7))
    default = rule("sdvg")
    assert default.scorer == TemporalSeam()
    assert default.router == rule("temporal-seam").router == Forced({0}, Threshold(-1.0))


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("random", {"rate": 1.5}, "rate must be between"),
        ("random", {"forced": 0}, "forced must hold indices"),
        ("stride", {"k": 2, "phase": 2}, "phase"),
        ("budget", {"max_target_blocks": -1}, "max_target_blocks"),
        ("sdvg", {"scorer": "beauty"}, "scorer must be a FrameScorer"),
        ("sdvg", {"threshold": float("nan")}, "threshold must be a number"),
        ("sdvg", {"aggregate": "max"}, "unknown aggregate"),
        ("sdvg", {"threshold": 0.0, "accept_rate": 0.5}, "give threshold or accept_rate"),
        ("sdvg-hybrid", {"group": 0}, "group must be"),
        ("target-check", {"step": -1}, "step must be"),
        ("first-block", {"stitch": 2}, "has no option stitch"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_loaded(
    method: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe.choose(method, "a folder", family="video", **options)


@pytest.mark.parametrize("row", DRAFTING, ids=lambda row: row.name)
def test_no_bias_is_known_that_a_budget_could_bound(row: catalog.Method) -> None:
    with pytest.raises(ValueError, match=f"'{row.name}' drafts blocks, for which no bias is known"):
        Recipe.choose(row.name, "a folder", family="video", bias_budget=0.1)
    with pytest.raises(ValueError, match="'none' is exact and spends no bias"):
        Recipe.choose("none", family="video", bias_budget=0.1)


def test_auto_never_chooses_a_lossy_method() -> None:
    assert Recipe.choose(family="video").method.name == "none"
    with pytest.raises(ValueError, match="name the method"):
        Recipe.choose(family="video", drafter="a folder")
    with pytest.raises(ValueError, match="needs a smaller video model"):
        Recipe.choose("sdvg", family="video")


def test_models_of_other_blocks_are_refused() -> None:
    one, other = target(), target()
    one.format, other.format = "3 frames", "1 frame"  # type: ignore[attr-defined]
    recipe = Recipe.choose("first-block", other, family="video")
    with pytest.raises(ValueError, match="do not make the same blocks"):
        recipe.engine(one, lambda path: path)
