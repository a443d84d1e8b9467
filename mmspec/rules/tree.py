"""Exact recursive rejection for trees whose siblings were drawn without replacement."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmspec.distributions import invert_cdf, residual, take_rows
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate
from mmspec.rules.laws import recorded_laws

# Running law (batch, vocab), node (batch, 1), its unit (batch, 1), level and which rows try it
# (batch,) -> whether the node stands (batch,) and the law that its refusal leaves (batch, vocab).
Trial = Callable[[Tensor, Tensor, Tensor, int, Tensor], tuple[Tensor, Tensor]]


class TreeRejection:
    """Recursive rejection down a tree (SpecInfer 2024; RSD, Jeon et al. 2024; EAGLE-1).

    At a node with target law ``p`` the children are tried in the order in which they were drawn:
    child ``x`` drawn from ``q`` is accepted with probability ``min(1, p(x) / q(x))``; on refusal
    ``p <- norm((p - q)+)``. The draft's law holds, for each node, the law that very unit was drawn
    from: for siblings drawn without replacement that is ``q`` with the earlier siblings removed and
    renormalised, for candidates of different sources each has its own. If no child is accepted the
    correction is drawn from what is left of ``p``. The output law is exactly the target's.

    A chain is the special case of one child a node.
    """

    certificate = Certificate(
        "exact", "recursive rejection in draw order leaves the target's law at every node"
    )

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure: reads the draft, the evidence and fresh numbers of the noise."""
        p, q = recorded_laws(draft, evidence, "tree rejection")
        uniforms = noise.fresh("accept", draft.nodes)

        def trial(
            law: Tensor, node: Tensor, unit: Tensor, level: int, tried: Tensor
        ) -> tuple[Tensor, Tensor]:
            q_node = take_rows(q, node).squeeze(1)
            p_x, q_x = law.gather(1, unit).squeeze(1), q_node.gather(1, unit).squeeze(1)
            stands = uniforms.gather(1, node).squeeze(1) * q_x < p_x
            return stands, residual(law, q_node)

        return settle_tree(draft, p, trial, noise)


def settle_tree(draft: Draft, p: Tensor, trial: Trial, noise: Noise) -> Verdict:
    """Walk down the tree, trying the children of each node in draw order.

    Args:
        draft: Any tree.
        p: ``(batch, nodes + 1, vocab)`` the target's laws.
        trial: Judges one child a row and gives the law that its refusal leaves.
        noise: One fresh number of its ``residual`` stream is taken.
    """
    children = _child_table(draft)
    batch, depth = draft.batch, draft.tree.max_depth
    path = torch.full((batch, depth), -1, device=draft.units.device)
    end = torch.zeros(batch, dtype=torch.long, device=draft.units.device)
    walking = torch.ones(batch, dtype=torch.bool, device=draft.units.device)
    law = take_rows(p, end.unsqueeze(1)).squeeze(1)
    for level in range(depth):
        offered = _rows_of(children, end).masked_fill(~walking.unsqueeze(1), -1)
        law, child = _choose_child(law, offered, draft, trial, level)
        walking = walking & (child >= 0)
        path[:, level] = torch.where(walking, child, -1)
        end = torch.where(walking, child + 1, end)
        fresh = take_rows(p, end.unsqueeze(1)).squeeze(1)
        law = torch.where(walking.unsqueeze(1), fresh, law)
    own = invert_cdf(law, noise.fresh("residual", 1).squeeze(1))
    refused = (_rows_of(children, end) >= 0).any(1)
    return Verdict(path, (path >= 0).sum(1), own, corrected=refused)


def _child_table(draft: Draft) -> Tensor:
    """``(batch, nodes + 1, width)`` children of every evidence row in draw order, -1 padded."""
    nodes = draft.nodes
    link = (draft.tree.parents + 1).unsqueeze(1) == torch.arange(
        nodes + 1, device=draft.units.device
    ).view(1, -1, 1)
    if draft.valid is not None:
        link = link & draft.valid.unsqueeze(1)
    index = torch.arange(nodes, device=draft.units.device)
    # Children in index order come first: a stable sort by "is no child" moves them to the front.
    order = (~link).to(torch.int8).sort(dim=2, stable=True).indices
    order = order[..., : draft.tree.max_width or nodes]
    return torch.where(link.gather(2, order), index[order], -1)


def _rows_of(children: Tensor, end: Tensor) -> Tensor:
    """The children of evidence row ``end``, ``(batch, width)``."""
    return take_rows(children, end.unsqueeze(1)).squeeze(1)


def _choose_child(
    law: Tensor, offered: Tensor, draft: Draft, trial: Trial, level: int
) -> tuple[Tensor, Tensor]:
    """Try the children ``offered`` ``(batch, width)`` (-1 padded) in draw order.

    Returns:
        The law left after the refusals ``(batch, vocab)`` and the accepted child, or -1.
    """
    chosen = torch.full_like(offered[:, 0], -1)
    for child in offered.unbind(1):
        node = child.clamp(min=0).unsqueeze(1)
        tried = (child >= 0) & (chosen < 0)
        passes, left = trial(law, node, draft.units.gather(1, node), level, tried)
        stands = tried & passes
        chosen = torch.where(stands, child, chosen)
        law = torch.where((tried & ~stands).unsqueeze(1), left, law)
    return law, chosen
