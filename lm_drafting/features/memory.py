"""The drafter's own cache: everything committed, and scratch slots behind it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lm_drafting.features.network import DraftNetwork, Rope
from lm_drafting.features.notes import Notes
from lm_drafting.features.rotary import Rotary
from lm_drafting.features.slots import Slots, barred, causal
from lm_drafting.targets import FeatureTarget
from mmspec.distributions import take_rows
from mmspec.messages import Commit, Draft, Evidence, Verdict
from mmspec.state import State


@dataclass(frozen=True)
class Front:
    """Where a draft starts: behind the rows of the committed text.

    Attributes:
        base: Most real rows of any text; scratch slots start here in every row.
        real: ``(batch,)`` real rows of every text; None where all have ``base``.
        position: Position of the first drafted node: one number, or ``(batch,)``.
    """

    base: int
    real: Tensor | None
    position: int | Tensor


class Memory:
    """Keys and values of one network over one request.

    Only rows with hidden states of the target stay; what the network predicted itself lives in
    scratch slots. A text's slots are consecutive; its positions jump where a picture was shortened.

    Args:
        state: A state right after the first commit.
        network: The network.
        target: Lends embedding table.
        rotary: Position tables.
    """

    def __init__(
        self, state: State, network: DraftNetwork, target: FeatureTarget, rotary: Rotary
    ) -> None:
        heads, dim = network.cache_shape
        self.notes = Notes(state, network, target)
        self._network, self._rotary = network, rotary
        self._weight = next(network.parameters())
        self._slots = Slots((state.batch, heads, dim), self._weight)
        self._done = [0] * state.batch
        self._cached = torch.zeros_like(state.lengths)

    @property
    def used_bytes(self) -> int:
        """Bytes of the keys and values of all committed rows, scratch slots not counted."""
        heads, dim = self._network.cache_shape
        return 2 * heads * dim * self._weight.element_size() * sum(self._done)

    @property
    def slots(self) -> Slots:
        """The cache, for inspection."""
        return self._slots

    def observe(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Note a round; the work waits for :meth:`catch_up`."""
        self.notes.append(state, draft, evidence, verdict, commit)

    def catch_up(self, state: State, scratch: int) -> tuple[Front, Tensor]:
        """Run all rows that are not cached yet, in one pass.

        Args:
            state: The target's state.
            scratch: Slots the draft will need.

        Returns:
            The front, and ``(batch, 1, steps * hidden)`` the output after every text's last row.
        """
        rows, removed, done = self.notes.rows, self.notes.layout.removed, self._done
        self._slots.reserve(rows.shape[1] + scratch)
        lengths = state.host_lengths
        real = [length - 1 - gone for length, gone in zip(lengths, removed, strict=True)]
        base, alike = max(real), len(set(real)) == 1
        ends = self.notes.slots_of(state.lengths - 1)
        if len(set(done)) == 1:
            first, count = done[0], base - done[0]
            x, rope = rows[:, first:base], self._rope(first, base, rows)
            mask = causal(first, count, base, x) if first and count > 1 else None
            attend = self._slots.attend(first, base, mask, is_causal=first == 0)
        else:
            count = max(now - then for now, then in zip(real, done, strict=True))
            places = self._cached.unsqueeze(1) + torch.arange(count, device=rows.device)
            x = take_rows(rows, places.clamp(max=rows.shape[1] - 1))
            rope = self._rotary.at(self.notes.positions_of(places), state.tokens.shape[1], x)
            attend = self._slots.attend(self._cached, base, causal(self._cached, count, base, x))
        out = self._network(x, rope, attend)
        last = out[:, -1:]
        if not alike or len(set(done)) > 1:
            last = take_rows(out, (ends - 1 - self._cached).clamp(min=0).unsqueeze(1))
        self._done, self._cached = real, ends
        position = lengths[0] - 1 if len(set(lengths)) == 1 else state.lengths - 1
        return Front(base, None if alike else ends, position), last

    def extend(
        self,
        front: Front,
        step: int,
        units: Tensor,
        hidden: Tensor,
        start: int,
        mask: Tensor | None,
    ) -> Tensor:
        """One pass over drafted nodes of one depth, into scratch slots from ``start`` on.

        All nodes of a depth share one position, right behind the last one of their text.

        Args:
            front: Where the draft started.
            step: Depth of the nodes, 0 for the first.
            units: ``(batch, n)`` their tokens, as target ids.
            hidden: ``(batch, n, hidden)`` the network's output at their parents.
            start: First slot written.
            mask: Added to the scores, ``(batch or 1, 1, n, start + n)``; None where a node sees
                every slot before it.
        """
        rows = self.notes.fuse_own(units, hidden)
        if isinstance(front.position, int):
            rope = self._rotary.between(front.position + step, front.position + step + 1, rows)
        else:
            positions = front.position.unsqueeze(1) + step
            longest = front.base + max(self.notes.layout.removed) + step + 1
            rope = self._rotary.at(positions, longest, rows)
        return self._network(rows, rope, self._slots.attend(start, start + units.shape[1], mask))

    def prefix(self, front: Front, nodes: int, scratch: int) -> Tensor | None:
        """Mask ``(batch, 1, nodes, base + scratch)`` hiding slots between a text's end and base.

        None where all texts end at the base.
        """
        if front.real is None:
            return None
        slots = torch.arange(front.base + scratch, device=front.real.device)
        seen = (slots < front.real.unsqueeze(1)) | (slots >= front.base)
        return barred(seen, self._weight).view(-1, 1, 1, len(slots)).expand(-1, -1, nodes, -1)

    def _rope(self, first: int, end: int, like: Tensor) -> Rope:
        """Tables of slots ``first`` to ``end``, the same ones in every text."""
        layout = self.notes.layout
        shifts = set(layout.removed)
        if layout.positions is None or (first and len(shifts) == 1):
            shift = shifts.pop() if len(shifts) == 1 else 0
            return self._rotary.between(first + shift, end + shift, like)
        slots = torch.arange(first, end, device=like.device).expand(len(layout.removed), -1)
        positions = self.notes.positions_of(slots)
        return self._rotary.at(positions, end + max(shifts), like)
