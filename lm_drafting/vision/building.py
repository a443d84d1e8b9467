"""Compressors by name, as configurations and checkpoints write them."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from lm_drafting.vision.compressor import VisualCompressor
from lm_drafting.vision.convolution import Convolution
from lm_drafting.vision.elastic import Elastic
from lm_drafting.vision.latent_queries import LatentQueries
from lm_drafting.vision.pooling import Pooling
from lm_drafting.vision.pruning import Pruning
from lm_drafting.vision.queries import Queries
from lm_drafting.vision.resampler import Resampler
from lm_drafting.vision.text_only import TextOnly

_CLASSES: dict[str, type[VisualCompressor]] = {
    cls.kind: cls
    for cls in (
        Pruning,
        Pooling,
        Convolution,
        Resampler,
        TextOnly,
        Queries,
        LatentQueries,
        Elastic,
    )
}
KINDS = ("none", *_CLASSES)
_SPECVLM = tuple({"kind": kind} for kind in ("prune", "pool", "conv", "resample", "text-only"))


def build_compressor(spec: Mapping[str, Any], *, hidden: int, row: int) -> VisualCompressor | None:
    """A compressor from its description; the reverse of its ``spec()``.

    Args:
        spec: ``kind`` and the arguments of its class, without widths. ``branches`` of an "elastic"
            one are descriptions too, SpecVLM's five by default.
        hidden: Width of the target's embeddings.
        row: Width of a row of the drafter's network.

    Returns:
        None for the kind "none": a drafter that reads every visual token.

    Raises:
        ValueError: The kind or an argument does not exist, or a value is out of range.
    """
    options = dict(spec)
    kind = options.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"unknown kind of compressor {kind!r}: choose from {', '.join(KINDS)}")
    widths = {"hidden": hidden, "row_size": row}
    parameters = signature(_CLASSES[kind]).parameters if kind in _CLASSES else {}
    allowed = [name for name in parameters if name not in widths]
    if unknown := options.keys() - allowed:
        raise ValueError(
            f"a compressor of kind {kind!r} has no {', '.join(sorted(unknown))}: it takes "
            f"{', '.join(allowed) or 'no options'}"
        )
    if kind not in _CLASSES:
        return None
    if kind == "elastic":
        branches = options.get("branches", _SPECVLM)
        options["branches"] = [build_compressor(part, hidden=hidden, row=row) for part in branches]
    own = {name: width for name, width in widths.items() if name in parameters}
    return _CLASSES[kind](**own, **options)
