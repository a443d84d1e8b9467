"""What the drafter knows of a request: hidden states of the target, and its own cache."""

from __future__ import annotations

import torch
from torch import Tensor

from image_ar.discrete.eagle.conditions import padded_rows, streams_of
from image_ar.discrete.eagle.network import ImageEagle
from image_ar.discrete.targets import GuidedTarget
from mmspec.cache import RaggedCache
from mmspec.distributions import take_rows
from mmspec.messages import Evidence, Verdict
from mmspec.paired_cache import PairedCache
from mmspec.state import State


class Memory:
    """Rows of the network over one request.

    Row ``t`` joins token ``t`` with the hidden state of position ``t - 1`` and lies in slot
    ``t - 1``; token 0 has no row. Rows of drafted tokens lie behind, with hidden states that the
    network predicted itself, and are overwritten.

    Args:
        state: A state right after the prefill.
        network: The network.
        target: Lends its embeddings.

    Raises:
        ValueError: The target kept no hidden states.
    """

    def __init__(self, state: State, network: ImageEagle, target: GuidedTarget) -> None:
        prompt = state.prompt
        if prompt.hidden is None or prompt.embeds is None:
            raise ValueError("the target kept no hidden states; set features in the request")
        batch, lead, width = prompt.hidden.shape
        self.guided = width == 2 * target.hidden_size
        self._network, self._target = network, target
        capacity = state.tokens.shape[1]
        self._features = prompt.hidden.new_zeros(batch, capacity, width)
        self._features[:, :lead] = prompt.hidden
        self._embeds = prompt.embeds
        self.cache = (PairedCache if self.guided else RaggedCache)(1, capacity)
        self._done = [1] * batch  # tokens that have a row or need none
        self._prompts = torch.tensor(prompt.lengths, device=prompt.hidden.device)
        self._longest = max(prompt.lengths)
        self._padded = padded_rows(prompt, target.hidden_size)

    def observe(self, before: Tensor, evidence: Evidence, verdict: Verdict) -> None:
        """Keep the hidden states along the accepted path.

        Args:
            before: ``(batch,)`` committed lengths before the round.
            evidence: Holds hidden states of the root and of every node.
            verdict: Says which nodes stayed.
        """
        assert evidence.hidden is not None
        root = torch.zeros_like(verdict.accepted).unsqueeze(1)
        rows = torch.cat([root, verdict.path.clamp(min=0) + 1], 1)
        hidden = take_rows(evidence.hidden, rows)
        # Entries beyond the path land behind the row's end, where later rounds overwrite them.
        steps = torch.arange(-1, rows.shape[1] - 1, device=before.device)
        places = (before.unsqueeze(1) + steps).clamp(max=self._features.shape[1] - 1)
        self._features.scatter_(1, places.unsqueeze(-1).expand_as(hidden), hidden)

    def catch_up(self, state: State) -> Tensor:
        """Run all rows that have none yet, in one pass.

        Returns:
            ``(streams, 1, hidden)`` the network's output at every row's last token.
        """
        lengths, done = state.host_lengths, self._done
        count = max(length - first for length, first in zip(lengths, done, strict=True))
        first = torch.tensor(done, device=state.tokens.device)
        tokens = first.unsqueeze(1) + torch.arange(count, device=first.device)
        tokens = tokens.clamp(max=state.tokens.shape[1] - 1)
        embeds = self._streams(self._target.embed(take_rows(state.tokens, tokens)), alike=True)
        if min(done) < self._longest:
            given = take_rows(self._embeds, tokens.clamp(max=self._longest - 1))
            prompted = tokens < self._prompts.unsqueeze(1)
            inside = self._streams(prompted.unsqueeze(-1), alike=True)
            embeds = torch.where(inside, self._streams(given), embeds)
        features = self._streams(take_rows(self._features, tokens - 1))
        out = self._run(embeds, features, tokens, first - 1, max(lengths) - 1, None)
        last = (state.lengths - 1 - first).clamp(min=0).unsqueeze(1)  # complete rows have none new
        self._done = list(lengths)
        return take_rows(out, last.repeat(2, 1) if self.guided else last)

    def extend(
        self, state: State, units: Tensor, hidden: Tensor, depth: int, first: int, among: Tensor
    ) -> Tensor:
        """One pass over drafted nodes of one depth.

        Args:
            state: The target's state.
            units: ``(batch, n)`` their tokens.
            hidden: ``(streams, n, hidden)`` the network's output at their parents.
            depth: Of the nodes; 1 for children of the root.
            first: Nodes drafted before them.
            among: ``(n, first + n)`` bool, which drafted nodes each of them sees.
        """
        positions = (state.lengths + depth - 1).unsqueeze(1).expand_as(units)
        start = state.lengths - 1 + first
        longest = max(state.host_lengths) - 1 + among.shape[1]
        embeds = self._streams(self._target.embed(units), alike=True)
        return self._run(embeds, hidden, positions, start, longest, among)

    def _run(
        self,
        embeds: Tensor,
        features: Tensor,
        positions: Tensor,
        start: Tensor,
        longest: int,
        among: Tensor | None,
    ) -> Tensor:
        count = positions.shape[1]
        self.cache.place(start, count, longest)
        mask = self._mask(start, count, longest, among)
        if self.guided:
            positions = positions.repeat(2, 1)
        return self._network(embeds, features, positions, mask, self.cache)

    def _mask(self, start: Tensor, count: int, longest: int, among: Tensor | None) -> Tensor:
        """``(streams, 1, count, longest)``: earlier rows, then ``among`` or a causal block."""
        if among is None:
            among = torch.ones(count, count, dtype=torch.bool, device=start.device).tril()
        drafted = among.shape[1]
        offset = torch.arange(longest, device=start.device) - (start - drafted + count).unsqueeze(1)
        inside = (offset >= 0) & (offset < drafted)
        own = among.t()[offset.clamp(0, drafted - 1)]  # (batch, longest, count)
        seen = (own & inside.unsqueeze(-1)).transpose(1, 2) | (offset < 0).unsqueeze(1)
        seen = self._streams(seen, alike=True)
        if self._padded is not None:
            text = min(self._padded.shape[1], longest)
            slots = start.unsqueeze(1) + torch.arange(count, device=start.device)
            itself = slots.unsqueeze(-1) == torch.arange(text, device=start.device)
            open_to = ~self._padded[:, :text].unsqueeze(1) | self._streams(itself, alike=True)
            seen[..., :text] &= open_to
        return seen.unsqueeze(1)

    def _streams(self, values: Tensor, alike: bool = False) -> Tensor:
        """Both streams as rows, from values side by side or, where ``alike``, shared by both."""
        if not self.guided:
            return values
        if alike:
            return torch.cat([values, values])
        return streams_of(values, self._target.hidden_size)
