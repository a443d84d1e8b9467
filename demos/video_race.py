"""One video by the target alone and by a method: what is asked, what runs, what there is to see."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from demos import video_view
from demos.racing import Runner, race
from demos.serving import Report
from demos.settings import Lazy, Settings
from mmspec import catalog
from mmspec.films import save_mp4
from mmspec.pipelines.prompts import check_prompts
from mmspec.pipelines.video import VideoPipeline, load_filmmaker
from mmspec.pipelines.video_options import VideoOptions
from mmspec.pipelines.video_result import Film, VideoOutput
from mmspec.pipelines.video_run import Reel
from mmspec.roles import Drafter
from mmspec.timeline import burn_in

MOST_BLOCKS = 30
# Lowest and highest threshold that a knob offers, its step, and where it stands at first. The
# judge's scores are shares of right answers; the seam's are changes of pace.
TAUS: dict[str, tuple[float, float, float, float]] = {
    "judge": (0.0, 1.0, 0.05, 0.5),
    "temporal-seam": (-3.0, 0.0, 0.1, -1.0),
}


@dataclass(frozen=True)
class Order:
    """What a viewer asked for.

    Attributes:
        prompt: What is to be seen.
        method: Name of a method.
        reward: One of :data:`TAUS`; for methods that compare one.
        tau: Where the knob stands; its ends mean "keep every draft" and "keep none".
        blocks: Of the video; None takes the model's own number.
        seed: Of all random draws.
        beside: Whether the target makes the video alone as well.
    """

    prompt: str
    method: str = "sdvg"
    reward: str = "judge"
    tau: float = 0.5
    blocks: int | None = None
    seed: int = 0
    beside: bool = True

    def options(self) -> VideoOptions:
        """As options of the pipeline.

        Raises:
            ValueError: One of them is out of range.
        """
        if self.blocks is not None and not 1 <= self.blocks <= MOST_BLOCKS:
            raise ValueError(f"blocks must be between 1 and {MOST_BLOCKS}, got {self.blocks}")
        if self.seed < 0:
            raise ValueError(f"the seed must be 0 or above, got {self.seed}")
        return VideoOptions(blocks=self.blocks, seed=self.seed)

    @property
    def choices(self) -> dict[str, Any]:
        """What the method is told, by the names of the pipeline."""
        knob = knob_of(self.method, self.reward)
        if knob is None:
            return {}
        low, high, *_ = TAUS[knob]
        tau = -inf if self.tau <= low else inf if self.tau >= high else self.tau
        scored = "scorer" in catalog.get(self.method, "video").all_options
        return {"threshold": tau} | ({"reward": self.reward} if scored else {})


def knob_of(method: str, reward: str) -> str | None:
    """Whose scale the threshold of a method is on; None where it has none to turn."""
    options = catalog.get(method, "video").all_options
    if "scorer" in options:
        return reward
    return method if method in TAUS and "threshold" in options else None


class Filmer:
    """A video model, loaded when it is first wanted, and a pipeline for every method.

    Args:
        settings: The model and how to load it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._base: Lazy[VideoPipeline] = Lazy(self._load)
        self._drafter: Drafter | None = None
        self._warm: set[str] = set()

    @property
    def embedded(self) -> bool:
        """Whether the model comes with the package."""
        return self.settings.embedded("video")

    @property
    def methods(self) -> list[str]:
        """Names of those that can be tried; without a drafter there is none but plain."""
        rows = [row.name for row in catalog.methods("video") if row.build]
        return rows if self.embedded or self.settings.drafter else ["none"]

    @property
    def rewards(self) -> list[str]:
        """Names of rewards with a knob; the judge knows the small world only."""
        return [name for name in TAUS if self.embedded or name not in catalog.REWARDS]

    def check(self, order: Order) -> None:
        """Refuse what can be refused without the model.

        Raises:
            ValueError: The message says what to do.
        """
        check_prompts([order.prompt], self.settings.model, "video")
        order.options()

    def pipe(self, order: Order) -> VideoPipeline:
        """The pipeline of a method; the drafter is loaded once.

        Raises:
            ValueError: A model, drafter or option that does not fit.
        """
        model, target = self.settings.model, self._base.get().target
        row = catalog.get(order.method, "video")
        drafter: Any = None
        if row.build:
            drafter = self._drafter or self.settings.drafter
            drafter = drafter or catalog.embedded_folder(model, row.name, "video")
        made = load_filmmaker(
            target,
            method=row.name,
            drafter=drafter,
            device=str(target.device),
            dtype=str(target.dtype).removeprefix("torch."),
            strict=True,
            preset=self.settings.parts.get("preset"),
            **order.choices,
        )
        if row.build:
            self._drafter = made.engine.drafter
        made.model = model
        return made

    def warm_up(self, pipe: VideoPipeline, request: Any, seed: int) -> None:
        """Run both loops over a few blocks, once a method: first calls pay for allocations."""
        if pipe.method.name not in self._warm:
            pipe.warm_up(request, [seed])
            self._warm.add(pipe.method.name)

    def _load(self) -> VideoPipeline:
        return load_filmmaker(self.settings.model, method="none", **self.settings.loading())


@dataclass(frozen=True)
class Shown:
    """What the page is to show: the stage, and at the end the numbers and both films."""

    stage: str = ""
    status: str = ""
    results: str = ""
    films: tuple[str, ...] = ()


class Take:
    """A run beside the film that it has made so far.

    Attributes:
        runner: The run.
        film: Its blocks.
        blocks: How many there will be.
    """

    def __init__(self, runner: Runner, blocks: int) -> None:
        self.runner, self.film, self.blocks = runner, Film(), blocks
        self.keep = Reel(self.film, blocks, SimpleNamespace(update=lambda _: None), False)


def run(filmer: Filmer, order: Order, folder: Path, report: Report) -> None:
    """Load, warm up, make the video; what there is to see is reported as it comes.

    Args:
        filmer: Has the model.
        order: What is wanted.
        folder: Where films are written, on their way to the page.
        report: Is told :class:`Shown`.

    Raises:
        ValueError: The model does not take what is asked for.
        RuntimeError: Memory ran out in a block; those before it have been shown.
    """
    report(Shown(status="Loading the models …"))
    pipe = filmer.pipe(order)
    size = pipe.parameters(order.options())
    with torch.inference_mode():
        request = pipe.target.request(order.prompt, size["blocks"], size["height"], size["width"])
    runners = [Runner(pipe.method.name, pipe.engine, request, order.seed)]
    if order.beside:
        report(Shown(status="Warming up: first calls pay for allocations …"))
        filmer.warm_up(pipe, request, order.seed)
        runners.insert(0, Runner("target only", pipe.plain, request, order.seed))
    takes = [Take(runner, size["blocks"]) for runner in runners]
    _follow(takes, report)
    output = VideoOutput(0, order.prompt, order.seed, 0, takes[-1].film, size["fps"])
    output.baseline = takes[0].film if order.beside else None
    certificate = pipe.engine.rule.certificate
    numbers = video_view.results(takes, certificate, output.latent_distance)
    names = [folder / f"{number}.mp4" for number in range(len(takes))]
    films = tuple(
        _saved(take.film, name, size["fps"]) for take, name in zip(takes, names, strict=True)
    )
    report(Shown(video_view.stage(takes), "", numbers, films))


def _follow(takes: list[Take], report: Report) -> None:
    """Run all to the end; every block is shown as it is committed."""
    by_runner = {take.runner: take for take in takes}
    report(Shown(video_view.stage(takes)))
    try:
        with closing(race(list(by_runner))) as rounds:
            for runner, commit in rounds:
                by_runner[runner].keep(commit)
                report(Shown(video_view.stage(takes)))
    except torch.OutOfMemoryError as error:
        done = max(len(take.film.records) for take in takes)
        raise RuntimeError(
            f"memory ran out in block {done}; ask for fewer blocks, or leave out the run beside it"
        ) from error


def _saved(film: Film, path: Path, fps: float) -> str:
    """A film with the timeline on its frames, as a file."""
    images = burn_in(film.images, film.timeline)
    save_mp4((np.asarray(image) for image in images), path, fps)
    return str(path)
