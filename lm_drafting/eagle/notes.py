"""What the drafter has been told: one pair of embedding and hidden state a position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lm_drafting.targets import FeatureTarget
from mmspec.distributions import take_rows
from mmspec.messages import Commit, Draft, Evidence, Verdict
from mmspec.state import State


@dataclass(frozen=True)
class _Round:
    """A round whose pairs are not written yet.

    Attributes:
        draft: What was drafted.
        hidden: ``(batch, nodes + 1, hidden)`` the target's hidden states.
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
    """Row ``j`` holds (embedding of token ``j + 1``, target's hidden state of position ``j``).

    A prompt of ``L`` tokens and ``g`` generated ones give ``L + g - 1`` rows. At positions of a
    picture the embedding is what the target's decoder really read: the projected vision feature.

    ``append`` only keeps references; the rows are written when ``pairs`` is read, so rounds without
    drafting cost next to nothing.

    Args:
        state: A state right after the first commit.
        target: Lends its embedding table.
    """

    def __init__(self, state: State, target: FeatureTarget) -> None:
        if state.prompt.hidden is None or state.prompt.embeds is None:
            raise ValueError("the prompt's hidden states were not kept; prefill with features=True")
        self._target, self._state = target, state
        self._pairs: Tensor | None = None
        self._lengths = state.prompt_lengths
        self._rounds: list[_Round] = []

    def append(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Add the pairs of a round: root and accepted nodes, each with the token that followed."""
        counts = [len(units) for units in commit.units]
        before, self._lengths = self._lengths, state.lengths
        if max(counts) == 0 or evidence.hidden is None:
            return
        starts = tuple(now - new for now, new in zip(state.host_lengths, counts, strict=True))
        self._rounds.append(_Round(draft, evidence.hidden, verdict, max(counts), starts, before))

    @property
    def pairs(self) -> Tensor:
        """``(batch, capacity, 2 * hidden)``; everything appended so far is written."""
        if self._pairs is None:
            self._pairs = self._of_prompt()
        for one in self._rounds:
            self._write(self._pairs, one)
        self._rounds.clear()
        return self._pairs

    def _of_prompt(self) -> Tensor:
        prompt, tokens = self._state.prompt, self._state.tokens
        if prompt.hidden is None or prompt.embeds is None:
            raise ValueError("the prompt's hidden states were not kept; prefill with features=True")
        batch, longest, hidden = prompt.hidden.shape
        pairs = prompt.hidden.new_zeros(batch, tokens.shape[1], 2 * hidden)
        pairs[:, : longest - 1, :hidden] = prompt.embeds[:, 1:]
        pairs[:, : longest - 1, hidden:] = prompt.hidden[:, :-1]
        return pairs

    def _write(self, pairs: Tensor, one: _Round) -> None:
        tokens = self._state.tokens
        hidden = _along(one.draft, one.hidden, one.verdict, one.longest)
        if len(set(one.starts)) == 1:
            first, end = one.starts[0], one.starts[0] + one.longest
            embeds = self._target.embed(tokens[:, first:end])
            pairs[:, first - 1 : end - 1] = torch.cat([embeds, hidden], -1)
            return
        # Shorter rows receive rows beyond their end here; later rounds overwrite them.
        places = one.before.unsqueeze(1) + torch.arange(one.longest, device=hidden.device)
        places = places.clamp(max=pairs.shape[1] - 1)
        embeds = self._target.embed(tokens.gather(1, places))
        rows = torch.arange(len(one.starts), device=hidden.device).unsqueeze(1)
        pairs[rows, places - 1] = torch.cat([embeds, hidden], -1)


def _along(draft: Draft, hidden: Tensor, verdict: Verdict, count: int) -> Tensor:
    """Hidden states ``(batch, count, hidden)`` of the root and the first nodes of the path."""
    if draft.tree.is_chain or count == 1:
        return hidden[:, :count]
    nodes = verdict.path[:, : count - 1].clamp(min=0) + 1
    return take_rows(hidden, torch.cat([torch.zeros_like(nodes[:, :1]), nodes], dim=1))
