"""Interleaved, repeated runs of several contenders over the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmspec.bench.contenders import Contender, Outcome
from mmspec.bench.records import Cells, Entry, Loop


@dataclass
class Race:
    """The outcome of every contender on every input in every repeat.

    Attributes:
        contenders: Who takes part.
        baseline: Name of the one that others are compared with.
        limits: Contenders that run on the first so many inputs only, because they are slow.
        cells: ``[name][repeat][input] = (seconds, units)``.
        ids: Units of the first repeat, ``[name][input][row]``.
    """

    contenders: Sequence[Contender]
    baseline: str
    limits: Mapping[str, int] = field(default_factory=dict)
    cells: dict[str, Cells] = field(default_factory=dict)
    ids: dict[str, list[list[list[Any]]]] = field(default_factory=dict)

    def run(
        self,
        requests: Sequence[Any],
        repeats: int,
        warm_up: int = 2,
        tick: Callable[[], Any] = lambda: None,
    ) -> None:
        """Every contender on each request in turn, the order rotated, so that drift hits all alike.

        The warm-up (first ``warm_up`` requests, once each) is left out of every figure. Input ``i``
        draws from seed ``i`` in every repeat.
        """
        for contender in self.contenders:
            for index, item in enumerate(requests[:warm_up]):
                contender.run(item, seed=index)
            contender.forget()
            self.cells[contender.name] = [[] for _ in range(repeats)]
            self.ids[contender.name] = []
        for repeat in range(repeats):
            for index, item in enumerate(requests):
                turn = (repeat + index) % len(self.contenders)
                for contender in (*self.contenders[turn:], *self.contenders[:turn]):
                    if index < self.limits.get(contender.name, len(requests)):
                        self._note(contender, repeat, contender.run(item, seed=index))
                tick()

    def _note(self, contender: Contender, repeat: int, outcome: Outcome) -> None:
        self.cells[contender.name][repeat].append((outcome.seconds, outcome.tokens))
        if repeat == 0:
            self.ids[contender.name].append(outcome.rows)

    def entries(self) -> list[Entry]:
        """What is known of every contender, in the order they were given."""
        return [self._entry(contender) for contender in self.contenders]

    def _entry(self, contender: Contender) -> Entry:
        ours, theirs = self.ids[contender.name], self.ids[self.baseline]
        same = [a == b for a, b in zip(ours, theirs, strict=False)]  # a slow one has fewer inputs
        trace = getattr(contender, "trace", None)
        return Entry(
            contender.name,
            self.cells[contender.name],
            method=getattr(contender, "method", ""),
            knob=getattr(contender, "knob", ""),
            identical=sum(same) / len(same),
            loop=None if trace is None else Loop.of(trace),
        )
