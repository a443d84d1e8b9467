"""Makes the relaxed rules of the catalog for a target over image tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from image_ar.discrete import codebooks, cool, gsd, lantern
from image_ar.discrete.cool import AnnealedRelaxation
from image_ar.discrete.gsd import GroupedSpeculation
from image_ar.discrete.lantern import Lantern, LanternPlus
from image_ar.discrete.neighbours import Neighbours
from image_ar.discrete.relaxation import Relaxation
from image_ar.discrete.rules import RelaxedChain, RelaxedTree
from mmspec.catalog import BuildContext
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.options import Checks, flag, one_of, takes
from mmspec.rules.certificate import Certificate

# Neighbours that LANTERN looks at, as a share of the codebook: 1,000 of LlamaGen's 16,384.
_SHARE = 1000 / 16384


class Relaxed:
    """The relaxed rule that fits how a draft was made: a chain or a tree.

    Args:
        relaxation: The policy.
        residual: Law of the correction, see :func:`image_ar.discrete.laws.refusal_law`.
        track_bias: Whether to compute the bias of every judged position.
    """

    def __init__(
        self, relaxation: Relaxation, residual: str = "optimal", track_bias: bool = True
    ) -> None:
        self._chain = RelaxedChain(relaxation, residual, track_bias)
        self._tree = RelaxedTree(relaxation, residual, track_bias)

    @property
    def certificate(self) -> Certificate:
        """The policy's promise."""
        return self._chain.certificate

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure; see the rule it hands over to."""
        rule = self._chain if draft.tree.is_chain else self._tree
        return rule.judge(draft, evidence, noise)


def _common(residuals: Iterable[str]) -> Checks:
    """Options that every relaxed rule has."""
    return {"residual": one_of(residuals), "track_bias": flag()}


_LANTERN = {**_common(lantern.RESIDUALS), **codebooks.CHECKS}


@takes({**_LANTERN, **{name: lantern.CHECKS[name] for name in ("delta", "k")}})
def build_lantern(context: BuildContext) -> Relaxed:
    """LANTERN.

    Options: ``delta``, ``k``, ``normalize``, ``neighbours``, ``residual`` and ``track_bias``; the
    first two as in :class:`~image_ar.discrete.lantern.Lantern`, the next two as in
    :func:`~image_ar.discrete.codebooks.neighbours_of`, the last as in :class:`Relaxed`.
    """
    options = dict(context.options)
    delta = options.pop("delta", 0.1)
    near, k = _neighbours(context, options)
    return Relaxed(Lantern(near, delta=delta, k=k), **options)


@takes({**_LANTERN, **{name: lantern.CHECKS[name] for name in ("multiplier", "k")}})
def build_lantern_plus(context: BuildContext) -> Relaxed:
    """LANTERN++: ``multiplier`` in the place of ``delta``, the others as for LANTERN."""
    options = dict(context.options)
    multiplier = options.pop("multiplier", 2.0)
    options.setdefault("k", 10)
    near, k = _neighbours(context, options)
    return Relaxed(LanternPlus(near, multiplier=multiplier, k=k), **options)


def _gsd_together(options: Mapping[str, Any]) -> None:
    mode = options.get("mode", "window")
    gsd.check_distance(mode, options.get("distance_tol"))
    one_of(gsd.residuals_of(mode))(f"residual in mode {mode!r}", options.get("residual", "optimal"))


@takes({**gsd.CHECKS, **_common(gsd.residuals_of("partition"))}, _gsd_together)
def build_gsd(context: BuildContext) -> Relaxed:
    """GSD: ``group_size``, ``p_tol``, ``distance_tol``, ``mode``, ``residual``, ``track_bias``."""
    options = dict(context.options)
    own = {name: options.pop(name) for name in gsd.CHECKS if name in options}
    own.setdefault("group_size", 10)
    target: Any = context.target
    if own.get("distance_tol") is not None:
        own |= {"codebook": target.codebook, "ids": codebooks.ids_of(target)}
    return Relaxed(GroupedSpeculation(**own), **options)


@takes({**cool.CHECKS, **_common(AnnealedRelaxation.residuals)})
def build_cool(context: BuildContext) -> Relaxed:
    """COOL-SD: options ``delta``, ``nu``, ``mu``, ``residual`` and ``track_bias``."""
    options = dict(context.options)
    own = {name: options.pop(name) for name in cool.CHECKS if name in options}
    own.setdefault("delta", 1.1)
    return Relaxed(AnnealedRelaxation(**own), **options)


def _neighbours(context: BuildContext, options: dict[str, Any]) -> tuple[Neighbours, int]:
    """The table of the target's codebook, and how many neighbours to look at.

    The residuals of the published code clear one neighbour more than are looked at.
    """
    target: Any = context.target
    codes = target.codebook.shape[0]
    k = options.pop("k", round(_SHARE * codes))
    how = {name: options.pop(name) for name in codebooks.CHECKS if name in options}
    clears = k + options.get("residual", "").startswith("official")
    return codebooks.neighbours_of(target, min(max(clears, 1), codes - 1), **how), k
