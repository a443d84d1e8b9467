"""What a drafter has been told: one row a committed token, pictures shortened."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lm_drafting.features.layout import Layout, Texts, arrange, visual_runs
from lm_drafting.features.network import DraftNetwork
from lm_drafting.targets import FeatureTarget, placeholder_ids, visual_grids
from lm_drafting.vision.runs import Run
from mmspec.distributions import take_rows
from mmspec.messages import Commit, Draft, Evidence, Verdict
from mmspec.state import State


@dataclass(frozen=True)
class _Round:
    """A round whose rows are not written yet.

    Attributes:
        draft: What was drafted.
        hidden: ``(batch, nodes + 1, features)`` the target's hidden states.
        verdict: What stayed.
        longest: Most tokens any row gained.
        starts: Index of each row's first new token.
        before: The same, on the device.
    """

    draft: Draft
    hidden: Tensor
    verdict: Verdict
    longest: int
    starts: tuple[int, ...]
    before: Tensor


class Notes:
    """The rows of everything committed, see :class:`~lm_drafting.features.layout.Layout`.

    A prompt of ``L`` tokens and ``g`` generated ones give ``L + g - 1`` rows, less what the
    compressor removed. At positions of a picture the embedding is what the target's decoder really
    read: the projected vision feature.

    ``append`` only keeps references; rows are written when ``rows`` is read, so rounds without
    drafting cost next to nothing.

    Args:
        state: A state right after the first commit.
        network: Fuses rows and compresses pictures.
        target: Lends its embedding table.
    """

    def __init__(self, state: State, network: DraftNetwork, target: FeatureTarget) -> None:
        if state.prompt.hidden is None or state.prompt.embeds is None:
            raise ValueError("the prompt's hidden states were not kept; prefill with features=True")
        self._target, self._state, self._network = target, state, network
        self._layout: Layout | None = None
        self._rows: Tensor = state.prompt.hidden
        self._removed: Tensor | None = None
        self._lengths = state.prompt_lengths
        self._rounds: list[_Round] = []

    def append(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Add the rows of a round: root and accepted nodes, each with the token that followed."""
        counts = [len(units) for units in commit.units]
        before, self._lengths = self._lengths, state.lengths
        if max(counts) == 0 or evidence.hidden is None:
            return
        starts = tuple(now - new for now, new in zip(state.host_lengths, counts, strict=True))
        self._rounds.append(_Round(draft, evidence.hidden, verdict, max(counts), starts, before))

    @property
    def layout(self) -> Layout:
        """The prompt's layout; made when first asked for."""
        if self._layout is None:
            self._layout = self._read_prompt()
        return self._layout

    @property
    def rows(self) -> Tensor:
        """``(batch, capacity, row)``; everything appended so far is written."""
        layout = self.layout
        for one in self._rounds:
            self._write(layout, one)
        self._rounds.clear()
        return self._rows

    def slots_of(self, positions: Tensor) -> Tensor:
        """Slots of text behind the prompt, ``positions`` of shape ``(batch, ...)``."""
        return positions if self._removed is None else positions - _like(self._removed, positions)

    def positions_of(self, slots: Tensor) -> Tensor:
        """Positions ``(batch, n)`` of slots, in the prompt or behind it."""
        layout = self.layout
        if layout.positions is None:
            return slots
        behind = slots if self._removed is None else slots + _like(self._removed, slots)
        known = layout.positions.gather(1, slots.clamp(max=layout.positions.shape[1] - 1))
        kept = self._state.prompt_lengths - 1
        return torch.where(slots < self.slots_of(kept).unsqueeze(1), known, behind)

    def fuse_own(self, units: Tensor, hidden: Tensor) -> Tensor:
        """Rows ``(batch, n, row)`` of drafted tokens with hidden states the network predicted."""
        embeds = self._target.embed(units)
        return self._network.fuse_own(embeds, hidden, self._summary(embeds))

    def _read_prompt(self) -> Layout:
        state, prompt = self._state, self._state.prompt
        if prompt.hidden is None or prompt.embeds is None:
            raise ValueError("the prompt's hidden states were not kept; prefill with features=True")
        ids = state.tokens[:, : prompt.hidden.shape[1]]
        runs: list[list[Run]] = [[] for _ in prompt.lengths]
        if self._network.compressor is not None:
            grids = visual_grids(self._target, prompt.inputs)
            runs = visual_runs(ids, prompt.lengths, placeholder_ids(self._target), grids)
        layout = arrange(
            self._network,
            Texts(ids, prompt.embeds, prompt.hidden, prompt.lengths, prompt.lengths, runs),
        )
        capacity = state.tokens.shape[1] - min(layout.removed)
        self._rows = layout.rows.new_zeros(len(layout.rows), capacity, layout.rows.shape[2])
        self._rows[:, : layout.rows.shape[1]] = layout.rows
        if any(layout.removed):
            self._removed = torch.tensor(layout.removed, device=ids.device)
        return layout

    def _write(self, layout: Layout, one: _Round) -> None:
        tokens, rows = self._state.tokens, self._rows
        hidden = _along(one.draft, one.hidden, one.verdict, one.longest)
        slots = {start - 1 - gone for start, gone in zip(one.starts, layout.removed, strict=True)}
        if len(slots) == 1 and len(set(one.starts)) == 1:
            first, slot = one.starts[0], slots.pop()
            embeds = self._target.embed(tokens[:, first : first + one.longest])
            rows[:, slot : slot + one.longest] = self._fuse(embeds, hidden)
            return
        # Shorter texts receive rows beyond their end here; later rounds overwrite them.
        places = one.before.unsqueeze(1) + torch.arange(one.longest, device=hidden.device)
        places = places.clamp(max=tokens.shape[1] - 1)
        embeds = self._target.embed(tokens.gather(1, places))
        batch = torch.arange(len(one.starts), device=hidden.device).unsqueeze(1)
        rows[batch, self.slots_of(places - 1)] = self._fuse(embeds, hidden)

    def _fuse(self, embeds: Tensor, hidden: Tensor) -> Tensor:
        return self._network.fuse(embeds, hidden, self._summary(embeds))

    def _summary(self, embeds: Tensor) -> Tensor | None:
        summary = self.layout.summary
        return None if summary is None else summary.unsqueeze(1).expand_as(embeds)


def _like(rows: Tensor, values: Tensor) -> Tensor:
    """One number a row, shaped to meet ``values`` of shape ``(batch, ...)``."""
    return rows.view(-1, *[1] * (values.dim() - 1))


def _along(draft: Draft, hidden: Tensor, verdict: Verdict, count: int) -> Tensor:
    """Hidden states ``(batch, count, features)`` of the root and the first nodes of the path."""
    if draft.tree.is_chain or count == 1:
        return hidden[:, :count]
    nodes = verdict.path[:, : count - 1].clamp(min=0) + 1
    return take_rows(hidden, torch.cat([torch.zeros_like(nodes[:, :1]), nodes], dim=1))
