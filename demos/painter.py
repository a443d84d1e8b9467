"""A loaded image model with all methods that fit it, and what the fidelity knob means for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.pipelines.image import ImagePipeline, load_painter
from mmspec.pipelines.loading import locate
from mmspec.roles import Drafter

# The knob, from the target's own law to all that a method's options allow. Largest mean one-step
# bias of a relaxed rule over tokens (None: no limit), and largest distance of a latent vector.
BUDGETS: dict[str, float | None] = {
    "exact": 0.0,
    "strict": 0.001,
    "balanced": 0.003,
    "loose": 0.01,
    "relaxed": None,
}
DELTAS = {"exact": 0.0, "strict": 0.25, "balanced": 0.5, "loose": 1.0, "relaxed": 2.0}
FIDELITIES = tuple(BUDGETS)


def fidelity_options(method: catalog.Method, fidelity: str) -> dict[str, Any]:
    """A setting of the knob as options of the pipeline; exact methods have nothing to set.

    Raises:
        ValueError: No such setting.
    """
    if fidelity not in FIDELITIES:
        raise ValueError(f"fidelity must be one of {', '.join(FIDELITIES)}, got {fidelity!r}")
    if method.lossless:
        return {}
    if method.units == "latents":
        return {"mode": "tolerance", "delta": DELTAS[fidelity]}
    return {"bias_budget": BUDGETS[fidelity]}


def fidelity_words(method: catalog.Method, fidelity: str) -> str:
    """What a setting promises, in a sentence."""
    if method.lossless:
        return f"{method.name} is exact: its pictures have the model's own law, nothing to set."
    if method.units == "latents":
        delta = DELTAS[fidelity]
        if not delta:
            return "Every vector is the one that the model would have drawn."
        return f"A drafted vector stays if it is within {delta:g} of the model's own."
    budget = BUDGETS[fidelity]
    if budget is None:
        return "No limit: whatever the method's own defaults allow."
    if not budget:
        return "Judged exactly: nothing leaves the model's law."
    return f"The mean one-step bias (total variation a cell) is held under {budget:g}."


def methods_for(model: str, drafter: Any = None) -> list[catalog.Method]:
    """Methods that can be tried on a model, as far as is known before it is loaded.

    Args:
        model: Its name.
        drafter: What the user gave for methods that need one.
    """
    rows = [
        row
        for row in catalog.methods("image")
        if row.build and not (row.trained and drafter is None and _drafter(model, row) is None)
    ]
    folder = _folder(model)
    if folder is None:
        return rows
    units = catalog.resolve(catalog.IMAGE_UNITS)(str(folder))
    return [row for row in rows if row.units == units]


def classes_of(model: str) -> list[str]:
    """Names of a model's classes; none where it takes prompts, or its folder does not tell."""
    folder = _folder(model)
    if folder is None:
        return []
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return list(said.get("classes") or ())


class Painter:
    """One target, and a pipeline for every method.

    Args:
        pipe: Has the target; its method does not matter.
        drafter: What the user gave for methods that need one; None takes the embedded ones.
    """

    def __init__(self, pipe: ImagePipeline, drafter: Any = None) -> None:
        self.target, self.name = pipe.target, pipe.model
        self._given = drafter
        self._drafters: dict[str, Drafter] = {}
        self._warm: set[str] = set()

    def pipe(self, method: catalog.Method, fidelity: str, **plan: Any) -> ImagePipeline:
        """The pipeline of a method; trained drafters are loaded once.

        Args:
            method: A row of the catalog.
            fidelity: One of :data:`FIDELITIES`.
            **plan: Draft length and the like.

        Raises:
            ValueError: A method or options that do not fit the model.
        """
        target, drafter = self.target, None
        if method.trained:
            drafter = self._drafters.get(method.name, self._given) or _drafter(self.name, method)
        made = load_painter(
            target,
            method=method.name,
            drafter=drafter,
            device=str(target.device),
            dtype=str(target.dtype).removeprefix("torch."),
            **fidelity_options(method, fidelity),
            **plan,
        )
        made.model = self.name
        if method.trained:
            self._drafters[method.name] = made.engine.drafter
        return made

    def warm_up(self, pipe: ImagePipeline, request: Any, seed: int) -> None:
        """Run both loops once a method: first calls pay for allocations."""
        if pipe.method.name not in self._warm:
            pipe.warm_up(request, [seed])
            self._warm.add(pipe.method.name)


def _folder(model: str) -> Path | None:
    """Where the model says what it is; None for files and models that are not on this machine."""
    folder = Path(locate(model, "image"))
    return folder if (folder / "config.json").is_file() else None


def _drafter(model: str, method: catalog.Method) -> Any:
    return catalog.embedded_folder(model, method.name, "image")
