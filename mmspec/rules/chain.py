"""Exact rejection for a chain that was drawn from the drafter's own laws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmspec.distributions import invert_cdf, residual, take_rows
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate
from mmspec.rules.laws import recorded_laws
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
        p, q = recorded_laws(draft, evidence, "chain rejection")
        require_chain(draft)
        units = draft.units.unsqueeze(-1)
        p_x = p[:, :-1].gather(-1, units).squeeze(-1)
        q_x = q.gather(-1, units).squeeze(-1)
        # Written as a product so that a NaN compares false and refuses.
        stands = noise.fresh("accept", draft.nodes) * q_x < p_x

        def correction(p_end: Tensor, node: Tensor) -> Tensor:
            return residual(p_end, take_rows(q, node).squeeze(1))

        return settle_chain(draft, p, stands, correction, noise)


def require_chain(draft: Draft) -> None:
    """Refuse a draft with branches.

    Raises:
        TypeError: The draft is no chain.
    """
    if not draft.tree.is_chain:
        raise TypeError("chain rejection needs a chain; use the tree rule for branches")


def settle_chain(
    draft: Draft,
    p: Tensor,
    stands: Tensor,
    correction: Callable[[Tensor, Tensor], Tensor],
    noise: Noise,
) -> Verdict:
    """Keep the leading nodes that stand and draw what the target adds after them.

    Args:
        draft: A chain.
        p: ``(batch, nodes + 1, vocab)`` the target's laws.
        stands: ``(batch, nodes)`` bool, whether each node passes its own test.
        correction: From the target's law at the end ``(batch, vocab)`` and the first refused node
            ``(batch, 1)`` the law of the correction; used in rows where a node was refused.
        noise: One fresh number of its ``residual`` stream is taken.
    """
    if draft.valid is not None:
        stands = stands & draft.valid
    path, accepted, end = longest_path(draft.tree, stands)
    last = accepted.unsqueeze(1)
    refused = has_child(draft.tree, end, draft.valid)
    p_end = take_rows(p, last).squeeze(1)
    law = correction(p_end, last.clamp(max=draft.nodes - 1))
    law = torch.where(refused.unsqueeze(1), law, p_end)
    own = invert_cdf(law, noise.fresh("residual", 1).squeeze(1))
    return Verdict(path=path, accepted=accepted, own=own, corrected=refused)
