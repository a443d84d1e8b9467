"""A target, a drafter, a rule and a pacer, ready to generate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mmspec.guard import PATIENCE, Guarded, NoDraft
from mmspec.loop import speculate
from mmspec.messages import Commit, Features
from mmspec.noise import Noise, seeds_from
from mmspec.pacing import Plain
from mmspec.roles import Drafter, Pacer, Rule
from mmspec.rules import Exact
from mmspec.token_target import Request, TokenTarget
from mmspec.trace import Trace


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

    target: TokenTarget
    drafter: Drafter = field(default_factory=NoDraft)
    rule: Rule = field(default_factory=Exact)
    pacer: Pacer = field(default_factory=Plain)
    lookahead: int = 0
    strict: bool = False
    _failures: int = field(default=0, init=False, repr=False)

    def plain(self) -> Engine:
        """The baseline: the same loop, cache and kernels with an empty draft."""
        return Engine(self.target)

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
        rows = request.inputs["input_ids"].shape[0]
        seeds = list(seeds) if seeds is not None else seeds_from(generator, rows)
        if len(seeds) != rows:
            raise ValueError(f"{len(seeds)} seeds given for {rows} rows; give one a row")
        horizon = request.sampling.max_new_tokens
        noise = Noise(seeds, request.inputs["input_ids"].device, horizon)
        request = replace(request, lookahead=max(request.lookahead, self.lookahead))
        if getattr(self.drafter, "needs_features", False):
            layers = getattr(self.drafter, "target_layers", None)
            request = replace(request, features=Features(layers))
        guarded = Guarded(
            self.drafter,
            trace,
            self.strict,
            PATIENCE - self._failures,
            getattr(self.target.decoder, "vocab_size", None),
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
    ) -> tuple[list[list[int]], Trace]:
        """Generate to the end.

        Returns:
            New token ids of every row (stop token included), and the trace.
        """
        trace = trace if trace is not None else Trace()
        rows: list[list[int]] = [[] for _ in range(request.inputs["input_ids"].shape[0])]
        for commit in self.stream(request, trace, seeds, generator):
            for row, units in zip(rows, commit.units, strict=True):
                row.extend(units)
            if on_commit is not None:
                on_commit(commit)
        return rows, trace
