"""The catalog's ``build`` functions for video methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from mmspec.catalog import BuildContext
from mmspec.options import Check, flag, optional, real, takes, whole
from mmspec.roles import Pacer
from video_ar.checks import check_number
from video_ar.drafter import BlockDrafter
from video_ar.pacing import AskRouter
from video_ar.rewards.motion import Flicker, Frozen, TemporalSeam, WarpError
from video_ar.rewards.protocol import FrameScorer
from video_ar.rewards.sharpness import NegativeTotalVariation, Sharpness
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
    TargetCheck,
    Threshold,
)
from video_ar.routers.reward import check_aggregate
from video_ar.rule import Routed

# Scorers without weights, by name; others are given as objects.
SCORERS: dict[str, Callable[[], FrameScorer]] = {
    scorer.name: scorer
    for scorer in (
        Flicker,
        Frozen,
        NegativeTotalVariation,
        Sharpness,
        TemporalSeam,
        WarpError,
    )
}
# Thresholds speak of one scale: the published one of ImageReward's, that of seams says that change
# between two pictures may be e times faster or slower than before, that of checks that the draft
# may be off by half of the block's own size.
TAUS = {"image-reward": -0.7, TemporalSeam.name: -1.0}
AGREEMENT = -0.5
RATE, STRIDE, STITCH, TARGET_BLOCKS, CHECK = 0.7, 3, 3, 2, 2


def _number(name: str, value: Any) -> None:
    check_number(name, value)


def _scorer(name: str, value: Any) -> None:
    known = isinstance(value, str) and value in SCORERS
    if not known and not callable(getattr(value, "score", None)):
        raise ValueError(
            f"{name} must be a FrameScorer such as video_ar.rewards.image_reward makes, or one of "
            f"{', '.join(SCORERS)}; got {value!r}"
        )


def _aggregate(name: str, value: Any) -> None:
    check_aggregate(value, 0.0)


def _blocks(name: str, value: Any) -> None:
    wrong = isinstance(value, str) or not isinstance(value, Collection)
    if wrong or any(isinstance(one, bool) or not isinstance(one, int) or one < 0 for one in value):
        raise ValueError(f"{name} must hold indices of blocks, such as (0,), got {value!r}")


_FORCED: dict[str, Check] = {"forced": _blocks}
# Of refused drafts: the step from which the target goes on, and how many it runs.
_AGAIN: dict[str, Check] = {"stitch": whole(0), "target_steps": whole(1)}
_SCORED: dict[str, Check] = {
    "scorer": _scorer,
    "threshold": _number,
    "relative": flag(),
    **_FORCED,
}


def _given(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


def _routed(
    options: Mapping[str, Any], router: Router, scorer: FrameScorer | None = None, stitch: int = 0
) -> Routed:
    """The rule: blocks of the option ``forced`` are the target's, the first one by default.

    With ``relative`` scores count from those of the block that the target wrote last.
    """
    forced = options.get("forced", (0,))
    inner = Relative(router) if options.get("relative") else router
    inner = Forced(forced, inner) if forced else inner
    return Routed(inner, scorer, options.get("stitch", stitch), options.get("target_steps"))


def _scorer_of(options: Mapping[str, Any]) -> FrameScorer:
    """The one given; seams need no weights and are the default."""
    scorer = options.get("scorer", TemporalSeam.name)
    return SCORERS[scorer]() if isinstance(scorer, str) else scorer


def _threshold_of(options: Mapping[str, Any], scorer: FrameScorer) -> float:
    """The one given, or that of the scorer, which may know one itself: ``default_threshold``.

    Beside the target's own scores it is 0, whatever the scale.

    Raises:
        ValueError: There is none for this scorer's scale.
    """
    if "threshold" in options or options.get("relative"):
        return float(options.get("threshold", 0.0))
    found = TAUS.get(scorer.name, getattr(scorer, "default_threshold", None))
    if found is None:
        raise ValueError(
            f"give threshold= for scorer '{scorer.name}', on its own scale; there are defaults for "
            f"{', '.join(TAUS)}, and video_ar.rewards.calibration finds one"
        )
    return float(found)


@takes({"draft_steps": whole(1)})
def build_drafter(context: BuildContext) -> BlockDrafter:
    """A second model drafts, in ``draft_steps`` steps: its own number by default, or all.

    Raises:
        ValueError: The two models do not make the same blocks.
    """
    draft: Any = context.drafter
    if not hasattr(draft, "model"):
        assert context.load_target is not None
        draft = context.load_target(draft)
    one, other = getattr(context.target, "format", None), getattr(draft, "format", None)
    if one != other:
        raise ValueError(
            f"target and drafter do not make the same blocks ({one} and {other}); load a pair of "
            "one family"
        )
    own = getattr(getattr(draft, "defaults", None), "draft_steps", None)
    return BlockDrafter(draft.model, steps=context.options.get("draft_steps", own))


def pace(pacer: Pacer, options: Mapping[str, Any]) -> AskRouter:
    """The router alone decides what is drafted, see :class:`~video_ar.pacing.AskRouter`."""
    return AskRouter()


def build_draft_only() -> Routed:
    """Every block is the drafter's."""
    return Routed(DraftOnly())


def build_first_block() -> Routed:
    """The first block is the target's, all others the drafter's."""
    return Routed(FirstBlock())


@takes({"rate": real(0.0, 1.0), "router_seed": whole(0), **_FORCED})
def build_random(context: BuildContext) -> Routed:
    """A coin: options ``rate`` of kept blocks, ``router_seed`` and ``forced``."""
    options = context.options
    return _routed(options, Random(options.get("rate", RATE), options.get("router_seed", 0)))


def _phase_under_stride(options: Mapping[str, Any]) -> None:
    Stride(options.get("k", STRIDE), options.get("phase", 0))


@takes({"k": whole(1), "phase": whole(0)}, _phase_under_stride)
def build_stride(context: BuildContext) -> Routed:
    """Every ``k``-th block is the target's: options ``k`` and ``phase``."""
    options = context.options
    return Routed(Stride(options.get("k", STRIDE), options.get("phase", 0)))


@takes({"max_target_blocks": optional(whole(0)), "target_seconds": optional(real(0.0))})
def build_budget(context: BuildContext) -> Routed:
    """The target makes the first blocks: options ``max_target_blocks``, ``target_seconds``.

    Without either, it makes two.
    """
    options = context.options
    blocks, seconds = options.get("max_target_blocks"), options.get("target_seconds")
    if blocks is None and seconds is None:
        blocks = TARGET_BLOCKS
    return Routed(Budget(blocks, seconds))


def _policy_alone(options: Mapping[str, Any]) -> None:
    if "accept_rate" in options and options.get("relative"):
        raise ValueError("give relative or accept_rate: a rate compares scores with earlier ones")
    if "accept_rate" in options and "threshold" in options:
        raise ValueError("give threshold or accept_rate: a rate finds its threshold itself")


@takes(
    {**_SCORED, **_AGAIN, "aggregate": _aggregate, "accept_rate": real(0.01, 0.99)},
    _policy_alone,
)
def build_sdvg(context: BuildContext) -> Routed:
    """SDVG, with ``threshold`` or ``accept_rate``.

    Other options: ``scorer``, ``aggregate``, ``relative``, ``forced``, ``stitch``,
    ``target_steps``.

    Raises:
        ValueError: No threshold for this scorer.
    """
    options = context.options
    scorer, aggregate = _scorer_of(options), options.get("aggregate", "min")
    if "accept_rate" in options:
        count = len(options.get("forced", (0,)))
        rated = Quantile(options["accept_rate"], forced=count, aggregate=aggregate)
        return _routed(options, rated, scorer)
    return _routed(options, Threshold(_threshold_of(options, scorer), aggregate), scorer)


@takes({**_SCORED, **_AGAIN, "group": whole(1), "band": optional(real(0.0))})
def build_hybrid(context: BuildContext) -> Routed:
    """SDVG-hybrid: cascade and stitching; options ``group``, ``band`` and SDVG's but for two.

    ``aggregate`` and ``accept_rate`` need all scores.

    Raises:
        ValueError: No threshold for this scorer.
    """
    options = context.options
    scorer = _scorer_of(options)
    cascade = Cascade(_threshold_of(options, scorer), **_given(options, "group", "band"))
    return _routed(options, cascade, scorer, STITCH)


@takes({"threshold": _number, "stitch": whole(0), **_FORCED})
def build_seam(context: BuildContext) -> Routed:
    """The pace of change must not break: options ``threshold``, ``forced``, ``stitch``."""
    options = context.options
    scorer = TemporalSeam()
    return _routed(options, Threshold(_threshold_of(options, scorer)), scorer)


@takes(
    {
        "threshold": _number,
        "step": whole(0),
        "aggregate": _aggregate,
        "stitch": whole(0),
        **_FORCED,
    }
)
def build_check(context: BuildContext) -> Routed:
    """The target looks at the draft: options ``threshold``, ``step``, ``aggregate``, ``forced``.

    A refused block goes on from the check; ``stitch`` has it handed over at another step.
    """
    options = context.options
    step = options.get("step", CHECK)
    threshold = float(options.get("threshold", AGREEMENT))
    router = TargetCheck(threshold, step, options.get("aggregate", "min"))
    return _routed(options, router, stitch=step)
