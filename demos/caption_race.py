"""Plain decoding against a method on one caption: what happens, round by round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from demos.captioner import Captioner
from demos.page import LIMITS
from demos.racing import Runner, race
from mmspec.media import read_media
from mmspec.pipelines.options import CaptionOptions
from mmspec.pipelines.streams import Streams
from mmspec.render import Piece
from mmspec.token_target import Request

FRAMES = 8
MAX_TOKENS = 256

Report = Callable[[Any], None]


@dataclass(frozen=True)
class Order:
    """What a viewer asked for.

    Attributes:
        file: Path of the picture or clip.
        method: Name of a method, or ``auto``.
        size: Most drafted tokens a round.
        temperature: 0 is greedy.
        prompt: What is asked; empty takes the default.
        seed: Of all random draws.
        max_new_tokens: Most tokens of the caption.
    """

    file: str
    method: str = "auto"
    size: int = 16
    temperature: float = 0.0
    prompt: str = ""
    seed: int = 0
    max_new_tokens: int = 128

    def options(self) -> CaptionOptions:
        """As options of the pipeline.

        Raises:
            ValueError: One of them is out of range.
        """
        if not 1 <= self.max_new_tokens <= MAX_TOKENS:
            raise ValueError(
                f"the most tokens must be between 1 and {MAX_TOKENS}, got {self.max_new_tokens}"
            )
        return CaptionOptions(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
            frames=FRAMES,
        )


@dataclass(frozen=True)
class Status:
    """What is being done before the race begins."""

    text: str


@dataclass(frozen=True)
class Begin:
    """The race begins.

    Attributes:
        model: What the model was asked for by.
        method: The method that runs.
        certificate: What it promises.
        greedy: Whether nothing is left to chance.
        dtype: Number format of the model.
        note: What the viewer should know about the input.
    """

    model: str
    method: str
    certificate: str
    greedy: bool
    dtype: str
    note: str = ""


@dataclass(frozen=True)
class Step:
    """What a round added to one side.

    Attributes:
        side: 0 is plain decoding, 1 the method.
        pieces: Text, token by token.
        ids: The tokens.
        seconds: The side's own clock after the round.
        passes: Passes of the model so far.
        acceptance_length: Tokens a decoding round so far.
        finished: Whether the side is complete.
    """

    side: int
    pieces: tuple[Piece, ...]
    ids: tuple[int, ...]
    seconds: float
    passes: int
    acceptance_length: float
    finished: bool


@dataclass(frozen=True)
class Finish:
    """The race is over; ``notes`` say what the viewer should know."""

    notes: tuple[str, ...] = ()


def run(captioner: Captioner, order: Order, report: Report) -> None:
    """Read the input, warm both sides up, race them; everything is reported as it happens.

    Raises:
        ValueError: The input, the prompt or an option is refused; the message says why.
    """
    report(Status("Loading the model and its drafter …"))
    pipe = captioner.pipeline(order.method, order.size)
    options = order.options()
    sampling = options.sampling(pipe.target.stop_ids)
    pipe.check_prompt(order.prompt or None)
    media = read_media(order.file, FRAMES, LIMITS)
    with torch.inference_mode():
        inputs = pipe.prepare([media], order.prompt or None)
        pipe.check_length(inputs, sampling)
        report(Status("Warming up: first calls pay for allocations …"))
        pipe.warm_up(inputs, sampling, [order.seed])
    route = pipe.route(inputs)
    report(
        Begin(
            captioner.settings.model,
            route.method.name,
            str(route.engine.rule.certificate),
            sampling.greedy,
            str(pipe.target.dtype).removeprefix("torch."),
            media.note,
        )
    )
    request = Request(inputs, sampling)
    sides = [
        _Side(0, Runner("plain", pipe.engine.plain(), request, order.seed), pipe.target.decode),
        _Side(1, Runner(route.method.name, route.engine, request, order.seed), pipe.target.decode),
    ]
    try:
        for runner, commit in race([side.runner for side in sides]):
            side = next(one for one in sides if one.runner is runner)
            report(side.step(commit))
    finally:
        for side in sides:
            side.runner.close()
    report(Finish(tuple(sides[1].runner.trace.notes)))


class _Side:
    """Turns the rounds of a run into steps."""

    def __init__(self, number: int, runner: Runner, decode: Callable[[list[int]], str]) -> None:
        self.runner, self._number = runner, number
        self._fresh: list[Piece] = []
        options = CaptionOptions(on_text=lambda _, piece: self._fresh.append(piece))
        self._streams = Streams(options, decode, 1)
        listen = self._streams.watch(runner.trace, 0, [0])
        assert listen is not None, "there is a callback for text"
        self._listen = listen

    def step(self, commit: Any) -> Step:
        runner = self.runner
        self._listen(commit)
        if runner.finished:
            self._streams.end([0])
        pieces, self._fresh = tuple(self._fresh), []
        metrics = runner.trace.metrics
        return Step(
            self._number,
            pieces,
            tuple(commit.units[0]),
            runner.seconds,
            metrics.target_forwards,
            metrics.acceptance_length,
            runner.finished,
        )


@dataclass
class Lane:
    """All that one side has done so far."""

    pieces: list[Piece] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    passes: int = 0
    acceptance_length: float = 0.0
    finished: bool = False

    def add(self, step: Step) -> None:
        """Take in a step."""
        self.pieces += step.pieces
        self.ids += step.ids
        self.seconds, self.passes = step.seconds, step.passes
        self.acceptance_length, self.finished = step.acceptance_length, step.finished

    @property
    def rate(self) -> float:
        """Tokens a second of its own clock, vision and prefill included."""
        return len(self.ids) / self.seconds if self.seconds else 0.0


@dataclass
class Board:
    """Where the race stands.

    Attributes:
        begin: What runs.
        lanes: Plain decoding and the method.
        notes: What the viewer should know, at the end.
    """

    begin: Begin
    lanes: tuple[Lane, Lane] = field(default_factory=lambda: (Lane(), Lane()))
    notes: tuple[str, ...] = ()

    def add(self, item: Step | Finish) -> None:
        """Take in what happened."""
        if isinstance(item, Step):
            self.lanes[item.side].add(item)
        else:
            self.notes = item.notes

    @property
    def finished(self) -> bool:
        """Whether both sides are complete."""
        return all(lane.finished for lane in self.lanes)

    @property
    def speedup(self) -> float | None:
        """Tokens a second of the method over those of plain decoding; None before both have any."""
        plain, ours = self.lanes
        return ours.rate / plain.rate if plain.rate and ours.rate else None

    @property
    def identical(self) -> bool | None:
        """Whether both wrote the same tokens; None before both are complete."""
        return self.lanes[0].ids == self.lanes[1].ids if self.finished else None

    @property
    def agreed(self) -> int:
        """Tokens from the start that both sides have and agree on."""
        first, second = (lane.ids for lane in self.lanes)
        pairs = enumerate(zip(first, second, strict=False))
        shorter = min(len(first), len(second))
        return next((place for place, (one, other) in pairs if one != other), shorter)
