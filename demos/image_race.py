"""One picture by the plain loop and by a method: what is asked, what runs, what there is to see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from demos import image_view
from demos.drawing import Easel, draw
from demos.painter import FIDELITIES, Painter, fidelity_words, methods_for
from demos.racing import Runner
from demos.serving import Report
from demos.settings import Lazy, Settings
from mmspec import catalog
from mmspec.pipelines.image import load_painter
from mmspec.pipelines.image_options import ImageOptions, Subject

MODELS = ("tiny", "tiny-c2i", "tiny-mar")
# Seconds of work between two looks at it, and how long each is shown.
SPEEDS = {"real time": (0.15, 0.0), "slow motion": (0.02, 0.12)}
LONGEST = 63  # draft steps


@dataclass(frozen=True)
class Order:
    """What a viewer asked for; None takes the model's or the method's own.

    Attributes:
        model: Name of the model.
        subject: What is to be seen.
        method: Name of a method.
        fidelity: A setting of the knob.
        seed: Of all random draws.
        beside: Whether the plain loop draws as well.
        speed: One of :data:`SPEEDS`.
        guidance: Strength of guidance.
        temperature: 0 is greedy.
        length: Most draft steps a round.
    """

    model: str
    subject: Subject
    method: str = "scd"
    fidelity: str = FIDELITIES[-1]
    seed: int = 0
    beside: bool = True
    speed: str = "real time"
    guidance: float | None = None
    temperature: float | None = None
    length: int | None = None

    def options(self) -> ImageOptions:
        """As options of the pipeline.

        Raises:
            ValueError: One of them is out of range.
        """
        if self.length is not None and not 1 <= self.length <= LONGEST:
            raise ValueError(f"the draft length must be between 1 and {LONGEST}, got {self.length}")
        if not 0 <= self.seed < 2**62:
            raise ValueError(f"the seed must be 0 or above, got {self.seed}")
        return ImageOptions(
            guidance_scale=self.guidance, temperature=self.temperature, seed=self.seed
        )


@dataclass(frozen=True)
class Shown:
    """What the page is to show: the stage, and at the end the numbers and both pictures."""

    stage: str = ""
    status: str = ""
    results: str = ""
    pair: Any = None


class Studio:
    """The models that the tab offers, each loaded when it is first drawn with.

    Args:
        settings: The model that was asked for; the embedded ones are offered beside it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models = list(dict.fromkeys((settings.model, *MODELS)))
        self._painters = {name: Lazy(partial(self._load, name)) for name in self.models}

    def painter(self, model: str) -> Painter:
        """A model, loaded."""
        return self._painters[model].get()

    def methods(self, model: str) -> list[str]:
        """Names of the methods that can be tried on it."""
        return [row.name for row in methods_for(model, self._drafter(model))]

    def _drafter(self, model: str) -> str | None:
        return self.settings.drafter if model == self.settings.model else None

    def _load(self, model: str) -> Painter:
        given = self.settings.loading() if model == self.settings.model else {}
        place = {"device": self.settings.device} | given
        return Painter(load_painter(model, method="none", **place), self._drafter(model))


def run(studio: Studio, order: Order, report: Report) -> None:
    """Load, warm up, draw; what there is to see is reported as it comes.

    Raises:
        ValueError: The model takes no such subject, or the method does not fit it.
    """
    method, options = catalog.get(order.method, "image"), order.options()
    report(Shown(status="Loading the model …"))
    painter = studio.painter(order.model)
    plan = {} if order.length is None else {"draft_length": order.length}
    pipe = painter.pipe(method, order.fidelity, **plan)
    with torch.inference_mode():
        request = pipe.request([order.subject], pipe.parameters(options))
    runners = [Runner(method.name, pipe.engine, request, order.seed)]
    if order.beside:
        report(Shown(status="Warming up: first calls pay for allocations …"))
        painter.warm_up(pipe, request, order.seed)
        runners.insert(0, Runner("plain", pipe.plain, request, order.seed))
    easels = [Easel(runner, pipe.target) for runner in runners]
    for _ in draw(easels, SPEEDS[order.speed][0]):
        report(Shown(image_view.stage(easels)))
    promise = fidelity_words(method, order.fidelity)
    numbers = image_view.results(easels, pipe.engine.rule.certificate, promise)
    report(Shown(image_view.stage(easels), "", numbers, image_view.pair(easels)))
