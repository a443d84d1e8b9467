"""The catalog's ``build`` functions for methods over latent vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from image_ar.continuous.cspd import Published, Released
from image_ar.continuous.drafter import LatentDrafter
from image_ar.continuous.pacing import Prefilled
from image_ar.continuous.rules import (
    LastStepCoupling,
    SmoothedCoupling,
    StepwiseCoupling,
    Tolerance,
)
from mmspec.catalog import BuildContext
from mmspec.options import flag, one_of, real, takes, whole
from mmspec.roles import Pacer, Rule

DEFAULT_MODE, DELTA, SIGMA_V = "tolerance", 0.5, 0.2
# Share of the target's denoising steps in which drafts are made, where a mode allows fewer and the
# draft model was not trained for a number of its own.
DRAFT_SHARE = 1 / 3
PREFILL = 0.05
MODES: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "exact": (LastStepCoupling, ()),
    "smoothed": (SmoothedCoupling, ("sigma_v",)),
    "stepwise": (StepwiseCoupling, ()),
    "tolerance": (Tolerance, ("delta",)),
    "published": (Published, ("rounds",)),
    "released": (Released, ("rounds", "zeros_on_failure")),
}
# They speak of all steps of both chains, which must then correspond.
_STEP_BY_STEP = ("stepwise", "published", "released")
_DEFAULTS = {"delta": DELTA, "sigma_v": SIGMA_V}
_RULE_CHECKS = {
    "mode": one_of(MODES),
    "delta": real(0.0),
    "sigma_v": real(1e-6),
    "rounds": whole(1),
    "zeros_on_failure": flag(),
}
_DRAFT_CHECKS = {"mode": one_of(MODES), "draft_steps": whole(2)}


def _fit_mode(options: Mapping[str, Any]) -> None:
    """Refuse options of another mode.

    Raises:
        ValueError: Names them and those of this mode.
    """
    mode = options.get("mode", DEFAULT_MODE)
    taken = MODES[mode][1]
    if others := sorted(set(options) - {"mode", *taken} & set(_RULE_CHECKS)):
        known = ", ".join(taken) or "none"
        raise ValueError(f"mode '{mode}' has no option {', '.join(others)}; it has {known}")


def _fit_steps(options: Mapping[str, Any]) -> None:
    mode = options.get("mode", DEFAULT_MODE)
    if mode in _STEP_BY_STEP and "draft_steps" in options:
        raise ValueError(
            f"mode '{mode}' speaks of every denoising step and needs as many in drafts as in the "
            "target; leave out draft_steps, or choose another mode"
        )


def _fit_self(options: Mapping[str, Any]) -> None:
    mode = options.get("mode", DEFAULT_MODE)
    if mode in _STEP_BY_STEP:
        raise ValueError(
            f"mode '{mode}' speaks of every denoising step, and a target that drafts for itself "
            "takes fewer; use method 'cspd' with a draft model, or another mode"
        )


@takes(_RULE_CHECKS, _fit_mode)
def build_rule(context: BuildContext) -> Rule:
    """The rule of a mode: options ``mode`` and those of the mode, see :data:`MODES`."""
    options = dict(context.options)
    make, taken = MODES[options.pop("mode", DEFAULT_MODE)]
    given = {name: options.get(name, _DEFAULTS.get(name)) for name in taken}
    rule: Rule = make(**{name: value for name, value in given.items() if value is not None})
    return rule


@takes(_DRAFT_CHECKS, _fit_steps)
def build_model(context: BuildContext) -> LatentDrafter:
    """A second model drafts: options ``draft_steps`` and ``mode``.

    It takes the denoising steps that it was trained for if they are fewer than the target's, else
    a third of the target's.

    Raises:
        ValueError: The two models do not draw the same vectors.
    """
    draft: Any = context.drafter
    if not hasattr(draft, "decoder"):
        assert context.load_target is not None
        draft = context.load_target(draft)
    _check_pair(context.target, draft)
    target: Any = context.target
    own, most = draft.denoising_steps, target.denoising_steps
    usual = own if own is not None and most is not None and own < most else None
    return _drafter(draft.decoder, context.options, "cspd", usual)


@takes(_DRAFT_CHECKS, _fit_self)
def build_self(context: BuildContext) -> LatentDrafter:
    """The target drafts for itself in fewer denoising steps: the same options."""
    target: Any = context.target
    return _drafter(target.decoder, context.options, "cspd-self")


def _drafter(
    decoder: Any, options: Mapping[str, Any], name: str, usual: int | None = None
) -> LatentDrafter:
    mode, steps = options.get("mode", DEFAULT_MODE), options.get("draft_steps")
    told = mode in _STEP_BY_STEP or steps is not None
    return LatentDrafter(
        decoder,
        steps=steps,
        usual=None if told else usual,
        share=None if told or usual is not None else DRAFT_SHARE,
        paths=mode == "stepwise",
        name=name,
    )


def pace(pacer: Pacer, options: Mapping[str, Any]) -> Pacer:
    """Leave the first vectors to the target: option ``prefill``; ``released`` aligns windows."""
    released = options.get("mode") == "released"
    share = options.get("prefill", PREFILL)
    return Prefilled(pacer, share, aligned=released) if share or released else pacer


def _check_pair(target: Any, draft: Any) -> None:
    """Refuse a drafter that draws other vectors than the target.

    Raises:
        ValueError: What differs, on both sides.
    """
    one, other = target.decoder.config, draft.decoder.config
    sides = {
        "kind": (one.variant, other.variant),
        "grid": ((one.rows, one.columns), (other.rows, other.columns)),
        "numbers of a vector": (one.token_width, other.token_width),
        "classes": (one.classes, other.classes),
        "noise levels of training": (one.base_steps, other.base_steps),
        "range of latents": (one.latent_range, other.latent_range),
        "scale of the autoencoder": (target.vae.scale, draft.vae.scale),
    }
    wrong = [f"{what}: {a} and {b}" for what, (a, b) in sides.items() if a != b]
    if wrong:
        raise ValueError(
            f"target and drafter do not draw the same vectors ({'; '.join(wrong)}); load a pair of "
            "one family"
        )
