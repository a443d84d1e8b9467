"""From "which nodes stand" to the longest accepted path, without a loop over nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from mmspec.trees import Tree


def longest_path(tree: Tree, agrees: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The deepest node whose whole branch agrees.

    Args:
        tree: Topology of the draft.
        agrees: ``(batch, nodes)`` bool, whether each node agrees with its parent's decision.

    Returns:
        ``path`` ``(batch, depth)`` node indices padded with -1; ``accepted`` ``(batch,)``; ``end``
        ``(batch,)`` evidence row of the last accepted node (0 is the root).
    """
    if tree.is_chain or not tree.nodes:
        accepted = agrees.long().cumprod(1).sum(1)
        steps = torch.arange(tree.nodes, device=agrees.device)
        path = torch.where(steps < accepted.unsqueeze(1), steps, -1)
        return path, accepted, accepted
    ancestors = tree.ancestors[:, 1:, 1:]
    stands = ~(ancestors & ~agrees.unsqueeze(1)).any(-1)
    depth = tree.depths[:, 1:]
    accepted, deepest = torch.where(stands, depth, 0).max(1)
    end = torch.where(accepted > 0, deepest + 1, 0)
    on_path = ancestors.gather(1, deepest.view(-1, 1, 1).expand(-1, 1, tree.nodes)).squeeze(1)
    on_path = on_path & (accepted > 0).unsqueeze(1)
    # Every node on the path has a depth of its own: write its index there, all others into a bin.
    path = torch.full((agrees.shape[0], tree.max_depth + 1), -1, device=agrees.device)
    nodes = torch.arange(tree.nodes, device=agrees.device).expand_as(depth)
    slot = torch.where(on_path, depth - 1, tree.max_depth)
    path.scatter_(1, slot, nodes)
    return path[:, : tree.max_depth], accepted, end


def has_child(tree: Tree, end: Tensor, valid: Tensor | None) -> Tensor:
    """``(batch,)`` bool: whether the node at evidence row ``end`` had a drafted child."""
    child = tree.parents + 1 == end.unsqueeze(1)
    if valid is not None:
        child = child & valid
    return child.any(1)
