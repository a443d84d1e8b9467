"""Exact rejection for a chain that was drawn from the drafter's own laws."""

from __future__ import annotations

import torch

from mmspec.distributions import Categorical, invert_cdf, residual, take_rows
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate
from mmspec.rules.walk import has_child, longest_path


class ChainRejection:
    """Speculative sampling (Leviathan et al. 2023, algorithm 1; Chen et al. 2023).

    A drafted ``x ~ q`` is accepted with probability ``min(1, p(x) / q(x))``; at the first refusal
    the correction is drawn from ``norm((p - q)+)``; if all are accepted one bonus unit is drawn
    from ``p``. The output law is exactly ``p`` as long as ``draft.law`` holds the very numbers the
    units were drawn from.

    Raises:
        TypeError: The draft is no chain or carries no categorical law.
    """

    certificate = Certificate(
        "exact", "rejection sampling against the drafter's recorded law leaves the target's law"
    )

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure: reads the draft, the evidence and fresh numbers of the noise."""
        p_law, q_law = evidence.law, draft.law
        if not (isinstance(p_law, Categorical) and isinstance(q_law, Categorical)):
            raise TypeError("chain rejection needs categorical laws of target and draft")
        if not draft.tree.is_chain:
            raise TypeError("chain rejection needs a chain; use the tree rule for branches")
        p, q, units = p_law.probs, q_law.probs, draft.units.unsqueeze(-1)
        p_x = p[:, :-1].gather(-1, units).squeeze(-1)
        q_x = q.gather(-1, units).squeeze(-1)
        # Written as a product so that a NaN compares false and refuses.
        stands = noise.fresh("accept", draft.nodes) * q_x < p_x
        if draft.valid is not None:
            stands = stands & draft.valid
        path, accepted, end = longest_path(draft.tree, stands)
        last = accepted.unsqueeze(1)
        refused = has_child(draft.tree, end, draft.valid)
        p_end = take_rows(p, last).squeeze(1)
        q_end = take_rows(q, last.clamp(max=draft.nodes - 1)).squeeze(1)
        law = torch.where(refused.unsqueeze(1), residual(p_end, q_end), p_end)
        own = invert_cdf(law, noise.fresh("residual", 1).squeeze(1))
        return Verdict(path=path, accepted=accepted, own=own, corrected=refused)
