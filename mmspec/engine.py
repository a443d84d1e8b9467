"""A target, a drafter, a rule and a pacer, ready to generate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mmspec.guard import PATIENCE, Guarded, NoDraft
from mmspec.loop import speculate
from mmspec.messages import Commit
from mmspec.noise import Noise, seeds_from
from mmspec.pacing import Plain
from mmspec.roles import Drafter, Pacer, Request, Rule, Target
from mmspec.rules import Exact
from mmspec.trace import Trace, in_order


@dataclass
class Engine:
    """Runs requests through the one loop.

    Attributes:
        target: The model whose output is wanted.
        drafter: Proposes; the default proposes nothing.
        rule: Judges; the default is lossless.
        pacer: Decides how far to draft.
        lookahead: Most nodes any plan will ask for; sizes the cache.
        strict: Raise when the drafter fails instead of decoding plainly.
    """

    target: Target
    drafter: Drafter = field(default_factory=NoDraft)
    rule: Rule = field(default_factory=Exact)
    pacer: Pacer = field(default_factory=Plain)
    lookahead: int = 0
    strict: bool = False
    _failures: int = field(default=0, init=False, repr=False)

    def plain(self) -> Engine:
        """The baseline: the same loop, cache and kernels with an empty draft.

        A rule that speaks of a law other than the target's usual one has a ``plain()`` of its own.
        """
        return Engine(self.target, rule=getattr(self.rule, "plain", Exact)())

    @torch.inference_mode()
    def stream(
        self,
        request: Request,
        trace: Trace,
        seeds: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Commit]:
        """Generate, yielding what each round committed.

        Args:
            request: Prompts and sampling options.
            trace: Receives records and notes.
            seeds: One seed a row. A row's output depends on its own seed only, not on the batch.
            generator: Source of the seeds when they are not given; moves on.

        Yields:
            One commit a round.
        """
        rows = request.rows
        seeds = list(seeds) if seeds is not None else seeds_from(generator, rows)
        if len(seeds) != rows:
            raise ValueError(f"{len(seeds)} seeds given for {rows} rows; give one a row")
        noise = Noise(seeds, request.device, request.horizon)
        request = request.under(self.drafter, self.rule, self.lookahead, noise)
        guarded = Guarded(
            self.drafter,
            trace,
            self.strict,
            PATIENCE - self._failures,
            getattr(getattr(self.target, "decoder", None), "vocab_size", None),
            request.lookahead,
        )
        trace.begin(rows)
        try:
            yield from speculate(self.target, guarded, self.rule, self.pacer, request, noise, trace)
        finally:
            trace.end()
            self._failures += guarded.failed

    def generate(
        self,
        request: Request,
        trace: Trace | None = None,
        seeds: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        on_commit: Callable[[Commit], Any] | None = None,
    ) -> tuple[list[list[Any]], Trace]:
        """Generate to the end.

        Returns:
            New units of every row (stop token included) in the order of the output, and the trace.
        """
        trace = trace if trace is not None else Trace()
        first = len(trace.units)
        for commit in self.stream(request, trace, seeds, generator):
            if on_commit is not None:
                on_commit(commit)
        rows = trace.units[first:]
        return [[record.unit for record in in_order(row)] for row in rows], trace
