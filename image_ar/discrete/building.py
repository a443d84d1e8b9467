"""Makes the drafters of the catalog for a target over a grid of image tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from image_ar.discrete import codebooks, jacobi
from image_ar.discrete.eagle import trees
from image_ar.discrete.eagle.drafter import ImageEagleDrafter
from image_ar.discrete.eagle.network import ImageEagle
from image_ar.discrete.eagle.storage import load
from image_ar.discrete.jacobi import JacobiDrafter
from image_ar.discrete.mulo import drafter, rule, scaling
from image_ar.discrete.mulo.drafter import MultiScaleDrafter
from image_ar.discrete.mulo.rule import MultiScaleRule
from image_ar.discrete.mulo.scales import Scales
from image_ar.discrete.mulo.scaling import LatentScaling, PixelScaling
from image_ar.discrete.mulo.storage import load as load_upsampler
from image_ar.discrete.mulo.upsampler import Upsampler
from image_ar.discrete.neighbours import CodeIds
from mmspec.catalog import BuildContext
from mmspec.options import optional, path_or, takes

_UPSAMPLER = optional(path_or("an up-sampler", Upsampler))
_JACOBI_START = {"initialise": jacobi.CHECKS["initialise"]}


@takes(_JACOBI_START)
def build_sjd(context: BuildContext) -> JacobiDrafter:
    """Speculative Jacobi decoding; option ``initialise``."""
    return _jacobi(context, redraw="independent", **context.options)


@takes(jacobi.CHECKS)
def build_scd(context: BuildContext) -> JacobiDrafter:
    """Speculative Jacobi decoding with a coupled redraw; options ``redraw``, ``initialise``."""
    return _jacobi(context, **context.options)


@takes(trees.CHECKS)
def build_eagle(context: BuildContext) -> ImageEagleDrafter:
    """A chain or a static tree from the target's hidden states; option ``tree``.

    Raises:
        ValueError: No drafter was given, or it was made for another target.
    """
    target: Any = context.target
    network = context.drafter
    if not isinstance(network, ImageEagle):
        network = load(network, target.device, target.dtype)
    return ImageEagleDrafter(network, target, **context.options)


def _jacobi(context: BuildContext, **options: Any) -> JacobiDrafter:
    """A drafter for the target's grid.

    Raises:
        ValueError: The target makes no grid of tokens.
    """
    target: Any = context.target
    grid = getattr(target, "grid", None)
    if grid is None:
        raise ValueError(
            f"Jacobi decoding needs a target that makes a grid of image tokens, got "
            f"{type(target).__name__}; use an image model"
        )
    return JacobiDrafter(
        grid, target.vocab_size, image_ids=getattr(target, "image_ids", None), **options
    )


@takes({**drafter.CHECKS, **scaling.CHECKS, "upsampler": _UPSAMPLER})
def build_mulo(context: BuildContext) -> MultiScaleDrafter:
    """A low-resolution model of the target's codebook drafts whole rows.

    Options: ``rows``, low rows a cycle; ``upsampler``, the folder of a learned one, a loaded one,
    or "pixel"; ``margin``, see :class:`~image_ar.discrete.mulo.scaling.PixelScaling`. Where no
    up-sampler is named, the low-resolution model's ``config.json`` may name its folder.

    Raises:
        ValueError: Target and drafter do not fit together, or pixels cannot be encoded.
    """
    target: Any = context.target
    options = dict(context.options)
    low, chosen = context.drafter, options.pop("upsampler", None)
    if isinstance(low, str | Path):
        if chosen is None:
            chosen = _named_upsampler(Path(low))
        if context.load_target is None:
            raise ValueError("a drafter given by name needs a way to load it; pass a loaded target")
        low = context.load_target(str(low))
    grid = getattr(target, "grid", None)
    if grid is None or getattr(low, "grid", None) is None:
        raise ValueError(
            "method 'mulo' needs a target and a drafter that make grids of image tokens; give the "
            "folder of a low-resolution model of the target's family as the drafter"
        )
    if low.codebook.shape != target.codebook.shape or low.vocab_size != target.vocab_size:
        raise ValueError(
            f"the drafter has {len(low.codebook)} codes and the target {len(target.codebook)}; "
            "both must share one codebook"
        )
    scales = Scales(low.grid, grid)
    codec = target.image_decoder
    if not hasattr(codec, "encode"):
        raise ValueError(f"method 'mulo' scales pictures down; {target.name} cannot encode pixels")
    pixels = PixelScaling(codec, codec.encode, scales.ratio, options.pop("margin", 2))
    up = _upsampler(chosen, target, scales.ratio) or pixels
    codes = CodeIds(len(target.codebook), codebooks.ids_of(target))
    return MultiScaleDrafter(low, scales, up, pixels, codes, **options)


@takes({**rule.CHECKS, **codebooks.CHECKS})
def build_mulo_rule(context: BuildContext) -> MultiScaleRule:
    """Options ``tau``, ``k``, ``radius``, ``order``, ``window``, ``normalize``, ``neighbours``."""
    target: Any = context.target
    options = dict(context.options)
    how = {name: options.pop(name) for name in codebooks.CHECKS if name in options}
    near = None
    if options.get("k"):
        near = codebooks.neighbours_of(target, options["k"], **how)
    return MultiScaleRule(target.grid, neighbours=near, **options)


def _named_upsampler(folder: Path) -> str:
    """What a low-resolution model says of its up-sampler; "pixel" where it says nothing."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "pixel"
    named = config.get("upsampler")
    return str(folder / named) if named else "pixel"


def _upsampler(chosen: Any, target: Any, ratio: int) -> LatentScaling | None:
    """The learned up-sampler; None for pixels.

    Raises:
        ValueError: It was made for another codebook or ratio.
    """
    if chosen in (None, "pixel"):
        return None
    network = chosen
    if not isinstance(network, Upsampler):
        network = load_upsampler(chosen, target.device)
    made, here = (network.config.codes, network.config.ratio), (len(target.codebook), ratio)
    if made != here:
        raise ValueError(
            f"the up-sampler was made for {made[0]} codes and a ratio of {made[1]}; this target "
            f"needs {here[0]} and {here[1]}: use another, or upsampler='pixel'"
        )
    return LatentScaling(network)
