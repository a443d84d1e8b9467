"""Makes the relaxed rules of the catalog for a target over image tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from image_ar.discrete.cool import AnnealedRelaxation
from image_ar.discrete.gsd import GroupedSpeculation
from image_ar.discrete.lantern import Lantern, LanternPlus
from image_ar.discrete.neighbours import Neighbours
from image_ar.discrete.relaxation import Relaxation
from image_ar.discrete.rules import RelaxedChain, RelaxedTree
from mmspec.catalog import BuildContext
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
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


def build_lantern(context: BuildContext) -> Relaxed:
    """LANTERN: options ``delta``, ``k``, ``normalize``, ``residual``, ``track_bias``."""
    options = dict(context.options)
    delta = options.pop("delta", 0.1)
    near, k = _neighbours(context, options)
    return Relaxed(Lantern(near, delta=delta, k=k), **options)


def build_lantern_plus(context: BuildContext) -> Relaxed:
    """LANTERN++: options ``multiplier``, ``k``, ``normalize``, ``residual``, ``track_bias``."""
    options = dict(context.options)
    multiplier = options.pop("multiplier", 2.0)
    options.setdefault("k", 10)
    near, k = _neighbours(context, options)
    return Relaxed(LanternPlus(near, multiplier=multiplier, k=k), **options)


def build_gsd(context: BuildContext) -> Relaxed:
    """GSD: options ``group_size``, ``p_tol``, ``distance_tol``, ``mode``, and as above."""
    options = dict(context.options)
    own = {name: options.pop(name) for name in _GSD if name in options}
    own.setdefault("group_size", 10)
    target: Any = context.target
    if own.get("distance_tol") is not None:
        own |= {"codebook": target.codebook, "ids": _ids(target)}
    return Relaxed(GroupedSpeculation(**own), **options)


def build_cool(context: BuildContext) -> Relaxed:
    """COOL-SD: options ``delta``, ``nu``, ``mu``, and as above."""
    options = dict(context.options)
    own = {name: options.pop(name) for name in ("delta", "nu", "mu") if name in options}
    own.setdefault("delta", 1.1)
    return Relaxed(AnnealedRelaxation(**own), **options)


_GSD = ("group_size", "p_tol", "distance_tol", "mode")


def _neighbours(context: BuildContext, options: dict[str, Any]) -> tuple[Neighbours, int]:
    """The table of the target's codebook, and how many neighbours to look at."""
    target: Any = context.target
    codebook: Tensor = target.codebook
    k = options.pop("k", round(_SHARE * codebook.shape[0]))
    normalize = options.pop("normalize", target.codebook_normalized)
    return Neighbours.build(codebook, max(k, 1), normalize, _ids(target)), k


def _ids(target: Any) -> Tensor | None:
    """Vocabulary ids of the codes, None where ids are codes."""
    ids = getattr(target, "image_ids", None)
    return ids if isinstance(ids, Tensor) else None
