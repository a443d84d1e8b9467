"""What ``method="auto"`` means in each family: the row that is taken, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmspec import catalog

# A row of the catalog, and why it was chosen.
Chosen = tuple[catalog.Method, str]
# Best measured first, see docs/measuring.md; ``auto`` takes the first there is a drafter for. Where
# visual tokens dominate, drafters that read fewer of them win.
_PREFERRED = ("eagle", "vispec", "specvlm", "flash", "eagle3")
_PREFERRED_LONG = ("vispec", "specvlm", "flash", "eagle", "eagle3")
LONG_INPUT = 448  # visual tokens: measured between 288, where EAGLE wins, and 576, where it loses


def choose(model: str | None = None, drafter: Any = None, long: bool = False) -> Chosen:
    """What ``method="auto"`` means: the best measured method this model has a drafter for.

    A trained one-layer drafter measured fastest; without one, prompt lookup costs next to nothing.
    The pacer may still decline to speculate.

    Args:
        model: Name the target was asked for by, if any.
        drafter: Folder, Hub id or ready model that was given.
        long: Whether inputs have :data:`LONG_INPUT` visual tokens or more.

    Returns:
        The row, and why it was chosen.
    """
    if drafter is not None:
        name = _method_of(drafter)
        return catalog.get(name), f"auto chose {name}: it fits the given drafter"
    for name in _PREFERRED_LONG if long else _PREFERRED:
        if model is not None and catalog.embedded_folder(model, name) is not None:
            inputs = f"inputs of {LONG_INPUT} visual tokens or more" if long else "pictures"
            why = f"auto chose {name} for {inputs}: {model} has a trained drafter"
            return catalog.get(name), why
    return catalog.get("prompt-lookup"), "auto chose prompt-lookup: no trained drafter is known"


def choose_image(drafter: Any = None, units: str = "tokens") -> Chosen:
    """What ``method="auto"`` means for images: the exact method that needs no training.

    Args:
        drafter: Folder, Hub id or ready model that was given.
        units: What the target draws.

    Raises:
        ValueError: A drafter was given; several methods may use it, and some of them are lossy.
    """
    if drafter is not None:
        trained = ", ".join(row.name for row in catalog.methods("image") if row.trained)
        raise ValueError(f"name the method that the drafter is for with method=: {trained}")
    if units == "latents":
        why = (
            "auto chose none: exact methods accept next to nothing on latent vectors; "
            "cspd and cspd-self are faster within a bound that you choose"
        )
        return catalog.get("none", "image"), why
    return catalog.get("scd", "image"), "auto chose scd: exact, and needs no training"


def choose_video(drafter: Any = None) -> Chosen:
    """What ``method="auto"`` means for videos: plain decoding, as every other method is lossy.

    Args:
        drafter: Folder or ready model that was given.

    Raises:
        ValueError: A drafter was given; how far the video may leave the target's is to be said.
    """
    if drafter is not None:
        lossy = ", ".join(row.name for row in catalog.methods("video") if row.trained)
        raise ValueError(f"name the method that the drafter is for with method=: {lossy}")
    return catalog.get("none", "video"), "auto chose none: every method that drafts blocks is lossy"


def _method_of(drafter: Any) -> str:
    """The method a drafter is for: a whole model, or a network on the target's hidden states."""
    if not isinstance(drafter, str | Path):
        return "draft-model" if hasattr(drafter, "generate") else str(drafter.kind)
    try:
        # First, since some of these folders call themselves causal language models.
        return str(catalog.resolve("lm_drafting.checkpoints:kind_of")(drafter))
    except ValueError:
        if _is_language_model(drafter):
            return "draft-model"
        raise


def _is_language_model(folder: str | Path) -> bool:
    """Whether a local folder says that it holds a whole model."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    architecture = str((config.get("architectures") or [""])[0])
    return architecture.endswith(("ForCausalLM", "ForConditionalGeneration"))
