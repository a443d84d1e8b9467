"""Trees over ranks: where no law depends on the branch, a node is its depth and its rank there."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lm_drafting.features.growth import grow
from mmspec.trees import Tree, cut

# The official tree, as the ranks along each node's path.
PATHS: tuple[tuple[int, ...], ...] = (
    *((0,), (1,), (2,), (3,)),
    *((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)),
    *((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 2, 1), (1, 0, 0)),
    *((0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 2)),
    *((0, 0, 0, 0, 0), (0, 0, 0, 0, 1)),
)


def product_tree(logs: Tensor, nodes: int) -> tuple[Tensor, Tree]:
    """The best ``nodes`` nodes where a path's probability is the product over its tokens.

    EAGLE-2's growth with a beam, see :func:`~lm_drafting.features.growth.grow`; every node of a
    level is offered the same tokens, so nothing has to be run.

    Args:
        logs: ``(batch, depth, width)`` log probabilities of each level's best tokens, descending.
        nodes: Nodes to keep.

    Returns:
        Ranks ``(batch, kept)`` and their tree.
    """

    def expand(step: int, ranks: Tensor, hidden: Tensor, came: Tensor) -> tuple[Tensor, Tensor]:
        return logs[:, step + 1].unsqueeze(1).expand(-1, width, -1), hidden

    batch, depth, width = logs.shape
    nothing = logs.new_empty(batch, 1, 0)  # no hidden states to hand down
    pool, _ = grow(logs[:, 0], nothing, depth, width, expand, lambda ranks: ranks)
    keep, tree = cut(pool, nodes)
    return pool.units.gather(1, keep), tree


@lru_cache(maxsize=256)
def static_tree(depth: int, width: int, nodes: int, device: torch.device) -> tuple[Tensor, Tree]:
    """The official 25 nodes, or those that fit.

    Paths that are too deep or name a rank beyond ``width`` are left out. Of the rest the first
    ``nodes`` stay, in the order of ``length + sum of ranks``: as if every rank and every level were
    half as likely as the one before.

    Returns:
        Ranks ``(1, kept)`` and their tree of one row.
    """
    fitting = [path for path in PATHS if len(path) <= depth and max(path) < width]
    likely = sorted(fitting, key=lambda path: (len(path) + sum(path), path))[:nodes]
    kept = sorted(likely, key=lambda path: (len(path), path))  # the order of a static tree's nodes
    tree = Tree.static(kept)
    ranks = torch.tensor([[path[-1] for path in kept]], device=device)
    return ranks, Tree(tree.parents.to(device), tree.max_depth, tree.is_chain, tree.max_width)
