"""A toy target over grids: the law of a cell is a row of a table, chosen by its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from image_ar.discrete.grid import Grid
from image_ar.discrete.initialisation import INITIALISATIONS
from mmspec.engine import Engine
from mmspec.loop import speculate
from mmspec.messages import Features, Plan
from mmspec.pacing import Fixed
from mmspec.roles import Drafter, Rule
from mmspec.rules import Exact
from mmspec.token_target import Prefilled, TokenTarget
from mmspec.trace import Trace
from tests.core.exactly import String
from tests.core.toy import NoCache, request

INITIALISE = INITIALISATIONS
REDRAW = ("independent", "maximal", "gumbel")


def neighbour_laws(vocab: int, strength: float, seed: int, places: int = 1) -> Tensor:
    """``(places, vocab + 1, vocab + 1, vocab)`` laws by place, left and above; ``vocab`` = none."""
    generator = torch.Generator().manual_seed(seed)
    shape = (places, vocab + 1, vocab + 1, vocab)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (strength * logits).softmax(-1)


class TokenCache(NoCache):
    """Remembers the tokens of every slot; the slot of a token is its logical position."""

    def __init__(self, ids: Tensor, lengths: Tensor, reserve: int) -> None:
        self.prompts = lengths.unsqueeze(1)
        free = torch.zeros(ids.shape[0], reserve, dtype=torch.long)
        self.tokens = torch.cat([ids, free], dim=1)


class GridDecoder:
    """Laws ``table[place, left, above]``; ``place`` is the cell's index where the table has many.

    A prompt may be any length; the picture follows. Line ends are tokens of the vocabulary that are
    no neighbours of any cell, and their own logits mean nothing.
    """

    def __init__(self, grid: Grid, table: Tensor) -> None:
        self.logits = table.log()
        self.vocab_size = self.hidden_size = table.shape[-1]
        self.num_layers = 1
        self.steps = 0
        self.columns, self.length = grid.columns, grid.length
        self.width = grid.line

    def prefill(self, inputs: dict[str, Any], reserve: int, features: Features | None) -> Prefilled:
        ids, lengths = inputs["input_ids"], inputs["attention_mask"].sum(1)
        cache = TokenCache(ids, lengths, reserve)
        logits = self._after(lengths.unsqueeze(1) - 1, cache)[:, 0]
        return Prefilled(ids, lengths.tolist(), cache, logits)  # type: ignore[arg-type]

    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, state: Any
    ) -> tuple[Tensor, Tensor]:
        self.steps += 1
        state.cache.tokens.scatter_(1, positions, tokens)
        return self._after(positions, state.cache), torch.zeros(*tokens.shape, 1)

    def _after(self, positions: Tensor, cache: TokenCache) -> Tensor:
        """Logits of the tokens that follow ``positions`` ``(batch, n)``."""
        output = (positions + 1 - cache.prompts).clamp(max=self.length - 1)
        row, column = output // self.width, (output % self.width).clamp(max=self.columns - 1)
        at = output + cache.prompts
        none = self.logits.shape[-1]

        def token(back: int) -> Tensor:
            return cache.tokens.gather(1, (at - back).clamp(min=0))

        left = torch.where(column > 0, token(1), none)
        above = torch.where(row > 0, token(self.width), none)
        place = (row * self.columns + column).clamp(max=self.logits.shape[0] - 1)
        return self.logits[place, left, above]


class BatchNoise:
    """Independent numbers for many rows from one generator a stream: quick, for large samples."""

    def __init__(self, rows: int, seed: int, horizon: int) -> None:
        self.rows, self.seed, self.horizon = rows, seed, horizon
        self.generators: dict[str, torch.Generator] = {}
        self.tapes: dict[str, Tensor] = {}

    def fresh(self, stream: str, count: int) -> Tensor:
        if stream not in self.generators:
            number = self.seed * 1000 + sum(map(ord, stream))
            self.generators[stream] = torch.Generator().manual_seed(number)
        size = (self.rows, count)
        return torch.rand(size, generator=self.generators[stream], dtype=torch.float64)

    def at(self, stream: str, positions: Tensor) -> Tensor:
        if stream not in self.tapes:
            self.tapes[stream] = self.fresh(stream, self.horizon)
        return self.tapes[stream].gather(1, positions.clamp(max=self.horizon - 1))


def sample(
    grid: Grid,
    table: Tensor,
    drafter: Drafter,
    length: int,
    rows: int,
    seed: int = 1,
    noise: Any = None,
    rule: Rule | None = None,
) -> tuple[list[list[int]], Trace]:
    """Pictures of ``rows`` rows through the real loop at temperature 1."""
    noise = noise or BatchNoise(rows, seed, grid.length)
    trace = Trace()
    trace.begin(rows)
    outputs: list[list[int]] = [[] for _ in range(rows)]
    options = {"max_new_tokens": grid.length, "temperature": 1, "forced_ids": grid.forced_ids()}
    asked = request([[0]] * rows, lookahead=length, **options)
    target = TokenTarget(GridDecoder(grid, table))
    pacer = Fixed(Plan(length))
    for commit in speculate(target, drafter, rule or Exact(), pacer, asked, noise, trace):
        for output, units in zip(outputs, commit.units, strict=True):
            output.extend(units)
    return outputs, trace


def generate(
    grid: Grid,
    table: Tensor,
    drafter: Drafter | None,
    length: int,
    seeds: Sequence[int],
    prompts: Sequence[Sequence[int]] | None = None,
    **options: Any,
) -> tuple[list[list[int]], Trace]:
    """Pictures through the engine, plain without a drafter; one seed a row."""
    target = TokenTarget(GridDecoder(grid, table))
    engine = Engine(target)
    if drafter is not None:
        pacer = options.pop("pacer", None) or Fixed(Plan(length))
        engine = Engine(target, drafter, pacer=pacer, lookahead=length, strict=True)
    chosen = {"max_new_tokens": grid.length, "forced_ids": grid.forced_ids(), **options}
    return engine.generate(request(prompts or [[0]] * len(seeds), **chosen), seeds=seeds)


def picture_law(grid: Grid, table: Tensor) -> dict[String, float]:
    """Law of whole pictures without line ends by ancestral sampling."""
    law: dict[String, float] = {(): 1.0}
    vocab = table.shape[-1]
    for row, column in product(range(grid.rows), range(grid.columns)):
        place = min(row * grid.columns + column, table.shape[0] - 1)
        grown: dict[String, float] = {}
        for string, mass in law.items():
            left = string[-1] if column else vocab
            above = string[-grid.columns] if row else vocab
            for unit, chance in enumerate(table[place, left, above].tolist()):
                if chance > 0:
                    grown[(*string, unit)] = mass * chance
        law = grown
    return law
