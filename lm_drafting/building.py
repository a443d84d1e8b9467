"""From a method's row in the catalog to a drafter: a trained network, loaded and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from lm_drafting.features.drafter import FeatureDrafter
from lm_drafting.features.network import DraftNetwork
from lm_drafting.flash.drafter import ParallelDrafter
from lm_drafting.storage import load
from mmspec.catalog import BuildContext

if TYPE_CHECKING:
    from lm_drafting.targets import FeatureTarget


def network_for(context: BuildContext, kind: str) -> DraftNetwork:
    """The network of a context: a ready one, or that of a folder or Hub id.

    Raises:
        ValueError: No drafter was given, or it does not fit the method or the target.
    """
    if context.drafter is None:
        raise ValueError(
            f"method '{kind}' needs a drafter trained for this target: pass its folder or Hub id, "
            f"or train one with `mmspec train {kind}`"
        )
    if isinstance(context.drafter, DraftNetwork):
        return context.drafter
    return load(context.drafter, context.target, (kind,))


def builder(kind: str) -> Callable[[BuildContext], FeatureDrafter]:
    """``build`` of a method whose network is fed back its own predictions."""

    def build(context: BuildContext) -> FeatureDrafter:
        target = cast("FeatureTarget", context.target)
        options: dict[str, Any] = dict(context.options)
        return FeatureDrafter(network_for(context, kind), target, **options)

    return build


def build_flash(context: BuildContext) -> ParallelDrafter:
    """``build`` of FLASH, whose network says several tokens in one pass."""
    target = cast("FeatureTarget", context.target)
    options: dict[str, Any] = dict(context.options)
    return ParallelDrafter(network_for(context, "flash"), target, **options)


build_eagle = builder("eagle")
build_eagle3 = builder("eagle3")
build_vispec = builder("vispec")
build_specvlm = builder("specvlm")
