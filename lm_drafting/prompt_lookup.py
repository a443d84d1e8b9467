"""Drafts by repeating what followed the same words earlier in the prompt or the output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lm_drafting.targets import placeholder_ids
from mmspec.catalog import BuildContext
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise
from mmspec.state import State


class PromptLookup:
    """Prompt lookup decoding (Saxena 2023): the longest repeated ending predicts its continuation.

    The last ``max_ngram`` tokens are compared with every place of the row at once. Among the places
    that share the longest ending, ``min_ngram`` at least, the latest wins, since a text repeats its
    recent words. What follows is copied as far as it goes.

    Args:
        max_ngram: Longest ending compared.
        min_ngram: Shortest ending that counts as a match.
        earliest: Take the first place instead of the latest, as transformers does.
        never: Tokens that must not be proposed, such as image placeholders.
    """

    name = "prompt-lookup"

    def __init__(
        self,
        max_ngram: int = 3,
        min_ngram: int = 1,
        earliest: bool = False,
        never: Sequence[int] = (),
    ) -> None:
        if not 1 <= min_ngram <= max_ngram:
            raise ValueError(
                f"n-grams need 1 <= min_ngram <= max_ngram, got {min_ngram} and {max_ngram}"
            )
        self._longest, self._shortest, self._earliest = max_ngram, min_ngram, earliest
        self._never = tuple(never)

    def draft(self, state: State, plan: Plan, noise: Noise) -> Draft:
        """Copy up to ``plan.length`` tokens; rows without a match propose nothing."""
        width = max(state.host_lengths)
        tokens = state.tokens[:, :width]
        start = self._match(tokens, state.lengths)  # (batch,) first token to copy; width: no match
        places = start.unsqueeze(1) + torch.arange(plan.length, device=tokens.device)
        valid = places < state.lengths.unsqueeze(1)
        units = tokens.gather(1, places.clamp(max=width - 1))
        for token in self._never:
            valid = valid & (units != token).cumprod(1).bool()
        if valid.device.type == "cpu":  # reading is free there, and a shorter draft costs less
            longest = int(valid.sum(1).max())
            units, valid = units[:, :longest], valid[:, :longest]
        return Draft.chain(units, source=self.name, valid=valid)

    def observe(
        self, state: State, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Nothing to note: everything it needs is in the state."""

    def reset(self) -> None:
        """Nothing to forget."""

    def _match(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Where the continuation of the best match starts, ``(batch,)``; ``width`` for none."""
        width = tokens.shape[1]
        end = lengths.unsqueeze(1) - 1
        ends = torch.arange(width, device=tokens.device)
        # shared[b, i]: how many tokens up to place i equal the tokens up to the end of row b.
        shared = torch.zeros_like(tokens)
        same = ends < end  # something must follow, and the ending itself is no match
        for back in range(min(self._longest, width)):
            wanted = tokens.gather(1, (end - back).clamp(min=0))
            moved = torch.roll(tokens, back, 1) == wanted
            same = same & moved & (ends >= back)
            shared += same
        order = width - 1 - ends if self._earliest else ends
        best = (shared * width + order).argmax(1, keepdim=True)
        found = shared.gather(1, best) >= self._shortest
        return torch.where(found, best + 1, width).squeeze(1)


def build(context: BuildContext) -> PromptLookup:
    """Prompt lookup for a target; options are those of :class:`PromptLookup`."""
    return PromptLookup(never=placeholder_ids(context.target), **context.options)
