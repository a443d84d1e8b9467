"""A low-resolution model writes the next rows, up-sampled they are the draft (MuLo-SD)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from image_ar.discrete.grid import Grid
from image_ar.discrete.mulo.scales import Block, Scales
from image_ar.discrete.mulo.scaling import Down, Up
from image_ar.discrete.neighbours import CodeIds
from mmspec.distributions import Law
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.options import whole
from mmspec.state import State
from mmspec.token_target import Request, TokenTarget

STREAM = "mulo"
CHECKS = {"rows": whole(1)}


@dataclass
class _Memory:
    """What the low-resolution model knows of the running request.

    Attributes:
        own: Its state.
        first: Law of its first token, which the reading of the condition gave.
        codes: ``(batch, low rows, low columns)`` what stands in rows above the running block.
        known: Rows of ``codes`` that are the accepted picture's, scaled down.
    """

    own: State
    first: Law
    codes: Tensor
    known: int


class MultiScaleDrafter:
    """Drafts all cells but the last one of the next rows (MuLo-SD, arXiv 2601.05149).

    A cycle: the rows accepted since the last one are scaled down and written into the
    low-resolution model's state; it draws its next rows from its own law, after the target's
    temperature, filters and guidance; they are scaled up to the target's grid. Nothing is recorded
    of their law: they are a deterministic draft. Rows that end together with the picture make the
    last block a shorter one.

    A plan of length 1 or more means one block, whatever its length and width; the request's
    ``lookahead`` must have room for it: ``rows * ratio * (columns + line ends) - 1`` nodes. Goes
    with :class:`~image_ar.discrete.mulo.rule.MultiScaleRule`; an exact rule may judge its drafts
    too. All running rows of a batch must stand at the same cell, as they do with these rules;
    otherwise the draft is empty.

    Args:
        low: The low-resolution model; reads the same prepared inputs as the target.
        scales: Its grid and the target's.
        upsampler: Scales up what it writes.
        scaling: Scales down what was accepted.
        rows: Low-resolution rows a cycle.
        ids: Vocabulary ids of the codes, the same in both models.

    Raises:
        ValueError: ``rows`` outside the low grid.
    """

    name = "mulo"

    def __init__(
        self,
        low: TokenTarget,
        scales: Scales,
        upsampler: Up,
        scaling: Down,
        ids: CodeIds,
        rows: int = 1,
    ) -> None:
        whole(1, scales.low.rows)("rows", rows)
        self._low, self._scales, self._rows = low, scales, rows
        self._up, self._down, self._ids = upsampler, scaling, ids
        self.reset()

    def reset(self) -> None:
        """Forget the request."""
        self._memory: _Memory | None = None

    def observe(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Nothing to note: the next draft reads what was accepted from the state."""

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        """The rest of the running block, its last cell left to the target.

        Raises:
            ValueError: The cache has no room for the block.
        """
        running = zip(state.new_lengths, state.finished, strict=True)
        done = {made for made, finished in running if not finished}
        nothing = Draft.empty(state.batch, state.tokens.device)
        place = done.pop()
        block = None if done else self._scales.block(place, self._rows)
        if block is None or block.end - place < 2:
            return nothing
        memory = self._follow(state, block)
        low = self._write(memory, block, noise)
        above = self._accepted(state, block)
        codes = self._up.up(torch.cat([memory.codes[:, : block.first], low], 1), above)
        units = self._lined(codes, self._scales.high)
        ahead = slice(place - block.start, block.end - block.start - 1)
        return Draft.chain(units[:, ahead], source=self.name)

    def _follow(self, state: State, block: Block) -> _Memory:
        """Bring the low-resolution model to the start of a block."""
        memory = self._memory = self._memory or self._open(state)
        grid, own = self._scales.low, memory.own
        fresh = block.first - memory.known
        if fresh:
            rows = self._down.down(self._accepted(state, block), fresh)
            memory.codes[:, memory.known : block.first] = rows
            units = self._lined(rows, grid)
            self._put(own, memory.known * grid.line, units)
            memory.known = block.first
        # What was accepted since, or at least the last token, whose law is wanted.
        pending = max(1, fresh * grid.line) if block.first else 0
        self._go_to(own, block.first * grid.line, pending)
        return memory

    def _open(self, state: State) -> _Memory:
        """Have the low-resolution model read the condition."""
        grid = self._scales.low
        inputs: dict[str, Any] = dict(state.prompt.inputs)
        interval = inputs.get("cfg_interval", -1)
        if interval >= 0:  # counted in tokens, of which the low resolution has fewer
            inputs["cfg_interval"] = interval // self._scales.ratio**2
        sampling = replace(
            state.sampler.sampling,
            max_new_tokens=grid.length,
            forced_ids=grid.forced_ids(),
            stop_ids=(),
        )
        own, evidence = self._low.prefill(Request(inputs, sampling))
        codes = state.tokens.new_zeros(state.batch, grid.rows, grid.columns)
        return _Memory(own, evidence.law, codes, known=0)

    def _write(self, memory: _Memory, block: Block, noise: Noise) -> Tensor:
        """Codes ``(batch, rows, columns)`` that the low-resolution model draws for a block."""
        grid, own = self._scales.low, memory.own
        nothing = Draft.empty(own.batch, own.tokens.device)
        places = range(block.first * grid.line, block.last * grid.line)
        units = []
        for place in places:
            law = self._low.score(own, nothing).law if place else memory.first
            at = own.lengths.new_full((own.batch, 1), place)
            units.append(law.draw(noise.at(STREAM, at)))
            self._put(own, place, units[-1])
            self._go_to(own, place + 1, pending=1)
        lines = torch.cat(units, 1).unflatten(1, (-1, grid.line))
        return self._codes(lines[..., : grid.columns])

    def _put(self, own: State, place: int, units: Tensor) -> None:
        """Write tokens ``(batch, n)`` from output position ``place`` on."""
        steps = torch.arange(place, place + units.shape[1], device=units.device)
        own.tokens.scatter_(1, own.prompt_lengths.unsqueeze(1) + steps, units)

    def _go_to(self, own: State, place: int, pending: int) -> None:
        """Let the next pass decide output position ``place``."""
        hosts = [length + place for length in own.prompt.lengths]
        self._low.rewind(own, own.prompt_lengths + place, hosts, pending)

    def _accepted(self, state: State, block: Block) -> Tensor:
        """Codes ``(batch, rows, columns)`` above a block."""
        grid = self._scales.high
        steps = torch.arange(block.start, device=state.tokens.device)
        at = state.prompt_lengths.unsqueeze(1) + steps
        lines = state.tokens.gather(1, at.clamp(max=state.tokens.shape[1] - 1))
        lines = lines.unflatten(1, (block.first * self._scales.ratio, grid.line))
        return self._codes(lines[..., : grid.columns])

    def _codes(self, units: Tensor) -> Tensor:
        """Codes of vocabulary ids; 0 for ids that stand for none."""
        table = self._ids.codes.to(units.device)
        codes = table[units.clamp(max=len(table) - 1)].clamp(min=0)
        return torch.where(units < len(table), codes, 0)

    def _lined(self, codes: Tensor, grid: Grid) -> Tensor:
        """Vocabulary ids ``(batch, n)`` of whole rows of codes, with what ends the lines."""
        units = self._ids.ids.to(codes.device)[codes]
        ends = units.new_tensor(grid.line_ids).expand(*units.shape[:2], -1)
        return torch.cat([units, ends], 2).flatten(1)
