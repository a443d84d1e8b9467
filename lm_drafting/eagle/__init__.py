"""EAGLE-1 and EAGLE-2: a one-layer drafter on the target's hidden states, and its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lm_drafting.eagle.drafter import EagleDrafter
from lm_drafting.eagle.head import EagleConfig, EagleHead
from lm_drafting.eagle.loading import load, save
from mmspec.catalog import BuildContext

if TYPE_CHECKING:
    from lm_drafting.targets import FeatureTarget

__all__ = ["EagleConfig", "EagleDrafter", "EagleHead", "build", "load", "save"]


def build(context: BuildContext) -> EagleDrafter:
    """The drafter of a context: a ready :class:`EagleHead`, or a folder or Hub id with one.

    Raises:
        ValueError: No drafter was given, or it was trained for another target.
    """
    if context.drafter is None:
        raise ValueError(
            "method 'eagle' needs a drafter trained for this target: pass its folder or Hub id, or "
            "train one with `mmspec train eagle`"
        )
    target = cast("FeatureTarget", context.target)
    head = context.drafter
    if not isinstance(head, EagleHead):
        head = load(head, target)
    return EagleDrafter(head, target, **context.options)
