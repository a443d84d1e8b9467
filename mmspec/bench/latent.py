"""Who takes part in drawing latent vectors: every mode of judging them."""

from __future__ import annotations

from typing import Any

from mmspec.bench.image import ImageBench, engine_for
from mmspec.engine import Engine

Entry = tuple[str, str, Engine]

# Modes that keep a promise come first.
MODES = ("exact", "stepwise", "smoothed", "tolerance", "published")
# They accept little between models that differ, so that most rounds are paid in vain.
SLOW = ("cspd exact", "cspd stepwise", "cspd smoothed", "cspd published", "cspd-self smoothed")
LENGTHS = (4, 8, 16, 32)
DELTAS = (0.25, 0.5, 1.0, 2.0)
# Tolerances beside the default: one that leaves the pictures as they are, and a wide one, with
# longer drafts since more of them stays.
OTHERS = ({"delta": 0.2}, {"delta": 1.0, "draft_length": 12})
SIGMAS = (0.1, 0.2, 0.4)
MASKED = "tiny-mar-masked"


def entries_by_mode(bench: ImageBench, target: Any) -> list[Entry]:
    """Every mode with the draft model, and the model drafting for itself."""
    entries = [(f"cspd {mode}", "", engine_for(bench, target, "cspd", mode=mode)) for mode in MODES]
    for options in OTHERS:
        named = ", ".join(f"{name}={value:g}" for name, value in options.items())
        engine = engine_for(bench, target, "cspd", mode="tolerance", **options)
        entries.append(("cspd tolerance", named, engine))
    for mode in ("tolerance", "smoothed"):
        engine = engine_for(bench, target, "cspd-self", mode=mode)
        entries.append((f"cspd-self {mode}", "", engine))
    return entries


def entries_by_length(bench: ImageBench, target: Any) -> list[Entry]:
    """Every mode over the length of drafts."""
    return [
        (
            f"cspd {mode}",
            f"{length}",
            engine_for(bench, target, "cspd", mode=mode, draft_length=length),
        )
        for mode in MODES
        for length in LENGTHS
    ]


def entries_by_knob(bench: ImageBench, target: Any) -> list[Entry]:
    """The bounded modes from hardly to much relaxed."""
    knobs = [("tolerance", "delta", value) for value in DELTAS]
    knobs += [("smoothed", "sigma_v", value) for value in SIGMAS]
    return [
        (
            f"cspd {mode}",
            f"{name}={value:g}",
            engine_for(bench, target, "cspd", mode=mode, **{name: value}),
        )
        for mode, name, value in knobs
    ]


def entries_masked(bench: ImageBench, target: Any) -> list[Entry]:
    """Masked MAR, which drafts for itself."""
    return [
        (f"cspd-self {mode}", "", engine_for(bench, target, "cspd-self", mode=mode))
        for mode in ("tolerance", "smoothed")
    ]


def entries_masked_by_length(bench: ImageBench, target: Any) -> list[Entry]:
    """The released program over the length of drafts; it is for masked MAR.

    Its draft takes every denoising step of the target. The target itself is the draft here: none
    agrees better, and none is dearer.
    """
    return [
        (
            "cspd released",
            f"{length}",
            engine_for(bench, target, "cspd", mode="released", drafter=target, draft_length=length),
        )
        for length in LENGTHS
    ]
