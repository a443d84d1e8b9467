"""What the drafter has been told: one pair of embedding and hidden state a position."""

from __future__ import annotations

import torch
from torch import Tensor

from lm_drafting.targets import FeatureTarget
from mmspec.distributions import take_rows
from mmspec.messages import Commit, Draft, Evidence, Verdict
from mmspec.state import State


class Notes:
    """Row ``j`` holds (embedding of token ``j + 1``, target's hidden state of position ``j``).

    A prompt of ``L`` tokens and ``g`` generated ones give ``L + g - 1`` rows. At positions of a
    picture the embedding is what the target's decoder really read: the projected vision feature.

    Args:
        state: A state right after the first commit.
        target: Lends its embedding table.
    """

    def __init__(self, state: State, target: FeatureTarget) -> None:
        prompt = state.prompt
        if prompt.hidden is None or prompt.embeds is None:
            raise ValueError("the prompt's hidden states were not kept; prefill with features=True")
        batch, longest, hidden = prompt.hidden.shape
        self._target = target
        self.pairs = prompt.hidden.new_zeros(batch, state.tokens.shape[1], 2 * hidden)
        self.pairs[:, : longest - 1, :hidden] = prompt.embeds[:, 1:]
        self.pairs[:, : longest - 1, hidden:] = prompt.hidden[:, :-1]
        self._lengths = state.prompt_lengths

    def append(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Add the pairs of a round: root and accepted nodes, each with the token that followed."""
        counts = [len(units) for units in commit.units]
        longest = max(counts)
        before, self._lengths = self._lengths, state.lengths
        if longest == 0 or evidence.hidden is None:
            return
        hidden = _along(draft, evidence.hidden, verdict, longest)
        starts = [now - new for now, new in zip(state.host_lengths, counts, strict=True)]
        if len(set(starts)) == 1:
            first = starts[0]
            embeds = self._target.embed(state.tokens[:, first : first + longest])
            self.pairs[:, first - 1 : first - 1 + longest] = torch.cat([embeds, hidden], -1)
            return
        # Shorter rows receive rows beyond their end here; later rounds overwrite them.
        places = before.unsqueeze(1) + torch.arange(longest, device=hidden.device)
        places = places.clamp(max=self.pairs.shape[1] - 1)
        embeds = self._target.embed(state.tokens.gather(1, places))
        rows = torch.arange(state.batch, device=hidden.device).unsqueeze(1)
        self.pairs[rows, places - 1] = torch.cat([embeds, hidden], -1)


def _along(draft: Draft, hidden: Tensor, verdict: Verdict, count: int) -> Tensor:
    """Hidden states ``(batch, count, hidden)`` of the root and the first nodes of the path."""
    if draft.tree.is_chain or count == 1:
        return hidden[:, :count]
    nodes = verdict.path[:, : count - 1].clamp(min=0) + 1
    return take_rows(hidden, torch.cat([torch.zeros_like(nodes[:, :1]), nodes], dim=1))
