"""Runs side by side on one machine: they take turns, and each is timed in its own rounds only."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmspec.engine import Engine
from mmspec.messages import Commit
from mmspec.trace import Trace


class Runner:
    """One run of a race.

    Whoever watches is not on the clock: only what happens inside :meth:`step` and :meth:`timed`
    counts. The trace's own seconds, which would hold the other runs and the drawing of the page,
    are replaced by these once the run has ended.

    Attributes:
        title: What to call it.
        trace: Records of the run.
        seconds: Time spent in its own rounds.
        finished: Whether it is complete.

    Args:
        title: What to call it.
        engine: How to generate.
        request: What; of one row.
        seed: Of all random draws.
    """

    def __init__(self, title: str, engine: Engine, request: Any, seed: int) -> None:
        self.title, self.trace = title, Trace()
        self.seconds, self.finished = 0.0, False
        self._commits: Any = engine.stream(request, self.trace, seeds=[seed])

    def step(self) -> Commit:
        """The next round, the prefill first; the model's errors come from here."""
        with self.timed():
            commit: Commit = next(self._commits)
        if all(commit.finished):
            self.close()
        return commit

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count what is done inside as time of this run."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
            if self.finished:
                self.trace.seconds = self.seconds

    def close(self) -> None:
        """End the run, complete or not; its state and cache go with it."""
        self.finished = True
        self._commits.close()
        self.trace.seconds = self.seconds


def race(runners: Sequence[Runner]) -> Generator[tuple[Runner, Commit], None, None]:
    """Run all to the end, always the one that has used the least time next.

    So that all stand at the same time of their own clocks, and the faster one is seen to be ahead.
    Closing the iterator closes the runs.

    Yields:
        Who went, and what its round committed.
    """
    try:
        while running := [runner for runner in runners if not runner.finished]:
            runner = min(running, key=lambda one: one.seconds)
            yield runner, runner.step()
    finally:
        for runner in runners:
            runner.close()
