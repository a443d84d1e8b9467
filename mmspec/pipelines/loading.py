"""Finding the model, the method and the drafter that belong together."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmspec import catalog
from mmspec.assembly import Recipe
from mmspec.pipelines.caption import CaptionPipeline
from mmspec.pipelines.comparing import Route
from mmspec.roles import Pacer
from mmspec.token_target import TokenTarget


def load_captioner(
    model: Any = "tiny",
    *,
    method: str = "auto",
    drafter: Any = None,
    processor: Any = None,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    attn_implementation: str | None = None,
    strict: bool = False,
    pacer: str | Pacer = "auto",
    draft_length: int | None = None,
    tree_width: int | None = None,
    tree_budget: int | None = None,
    **options: Any,
) -> CaptionPipeline:
    """Everything ``pipeline("caption", ...)`` needs.

    Args:
        model: ``"tiny"``, a local folder, a Hub id, a loaded target, or a loaded transformers model
            (then give its ``processor`` too).
        method: A name from the catalog; ``"auto"`` takes the best measured one that the model has a
            drafter for, see :func:`mmspec.choosing.choose`.
        drafter: Folder, Hub id or ready object; None takes the one that comes with the model.
        processor: Processor of a ready transformers model.
        device: ``"auto"`` is CUDA where there is one, else the CPU.
        dtype: ``"auto"`` is the checkpoint's own on CUDA. On the CPU it is bfloat16 where the
            processor has instructions for it, else float32; the embedded models always get float32,
            in which speculative and plain output agree bit for bit.
        revision: Revision of a Hub model.
        attn_implementation: Passed to transformers.
        strict: Raise when the drafter fails, instead of decoding plainly with a warning.
        pacer: ``"auto"`` fits the draft length to measured costs and may decline to speculate;
            ``"fixed"`` always drafts the full plan; or a pacer.
        draft_length: Most draft steps a round.
        tree_width: Children considered at a node of a draft tree.
        tree_budget: Most drafted tokens a round.
        **options: The method's own options, listed in its catalog row.

    Raises:
        ValueError: Unknown method or option, or a model that cannot be used.
    """
    name = model if isinstance(model, str) else None
    settle = partial(
        Recipe.choose,
        method,
        drafter,
        model=name,
        strict=strict,
        pacer=pacer,
        draft_length=draft_length,
        tree_width=tree_width,
        tree_budget=tree_budget,
        **options,
    )
    recipe, long = settle(), settle(long=True)
    place = choose_device(device)
    load = partial(
        catalog.resolve(catalog.TARGET_LOADER),
        dtype=choose_dtype(dtype, place, name),
        device=place,
        attn_implementation=attn_implementation,
    )
    target = _target(model, processor, load, revision)
    label = name or str(getattr(getattr(target, "model", None), "name_or_path", "") or "model")
    other = None
    if long.method.name != recipe.method.name:
        other = Route(long.engine(target, load), long.method, long.why)
    return CaptionPipeline(
        Route(recipe.engine(target, load), recipe.method, recipe.why), model=label, long=other
    )


def choose_device(device: str) -> str:
    """The device ``"auto"`` stands for; others are checked."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device '{device}' was asked for, but torch sees no CUDA device; use cpu")
    return device


def choose_dtype(dtype: str, device: str, model: str | None, family: str = "text") -> str:
    """The number format ``"auto"`` stands for, see :func:`load_captioner`."""
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be auto, float32, bfloat16 or float16, got {dtype!r}")
    if dtype != "auto":
        return dtype
    if model in catalog.embedded(family):
        return "float32"
    if device != "cpu":
        return "auto"
    from mmspec.doctor import cpu_flags

    native = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"} & (cpu_flags() or frozenset())
    return "bfloat16" if native else "float32"


def _target(model: Any, processor: Any, load: Any, revision: str | None) -> TokenTarget:
    if isinstance(model, TokenTarget):
        return model
    if not isinstance(model, str | Path):
        target: TokenTarget = catalog.resolve("adapters.hf_vlm:HFTarget")(model, processor)
        return target
    loaded: TokenTarget = load(str(locate(model)), revision=revision)
    return loaded


def locate(model: str | Path, family: str = "text") -> str | Path:
    """Where a model is: the folder of an embedded one, else what was given.

    Raises:
        ValueError: An embedded model without weights.
    """
    if str(model) not in catalog.embedded(family):
        return model
    folder = catalog.embedded_folder(str(model), "model", family)
    if folder is None:
        raise ValueError(
            f"the weights of the embedded model '{model}' are not there; "
            "make them with `mmspec train tiny`"
        )
    return folder
