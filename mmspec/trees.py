"""Topologies of a draft: chains, static trees and dynamic trees, as tensors.

A tree of ``n`` drafted nodes is held as parent indices. Node indices count drafted nodes only; the
root (the last committed unit) is parent ``-1`` and becomes row 0 wherever the root takes part.
Everything stays on the device: no topology needs a host synchronisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tree:
    """Parents of the nodes of a batch of trees.

    Attributes:
        parents: ``(batch, nodes)`` index of the parent node, -1 for children of the root. Parents
            stand before their children.
        max_depth: Longest branch, known on the host.
        is_chain: True when every row is one branch in order; lets caches skip the gather.
        max_width: Most children of one node where the maker knows it, else 0.
    """

    parents: Tensor
    max_depth: int
    is_chain: bool = False
    max_width: int = 0

    @classmethod
    def chain(cls, batch: int, length: int, device: torch.device | str = "cpu") -> Tree:
        """One branch of ``length`` nodes in every row."""
        tree = _chain(length, torch.device(device))
        return tree if batch == 1 else tree.expand(batch)

    @classmethod
    def static(cls, paths: Sequence[Sequence[int]], batch: int = 1) -> Tree:
        """A tree given by the child ranks along each node's path, as in Medusa and EAGLE-1.

        Args:
            paths: One entry a node, for example ``[[0], [1], [0, 0]]``. Every prefix of a path must
                be a path too. Nodes are ordered by depth, then by path.
            batch: Rows that share the tree.

        Raises:
            ValueError: A path without its prefix, an empty path, or a repeated path.
        """
        keys = sorted((tuple(path) for path in paths), key=lambda path: (len(path), path))
        if len(set(keys)) != len(keys):
            raise ValueError("a static tree must not repeat a path")
        index = {path: node for node, path in enumerate(keys)}
        index[()] = -1
        for path in keys:
            if not path or path[:-1] not in index:
                raise ValueError(f"static tree: path {list(path)} lacks its prefix; add it")
        parents = torch.tensor([[index[path[:-1]] for path in keys]])
        depth = max((len(path) for path in keys), default=0)
        width = max((path[-1] + 1 for path in keys), default=0)
        return cls(parents.expand(batch, -1), depth, len(keys) == depth, width)

    @property
    def batch(self) -> int:
        """Rows."""
        return self.parents.shape[0]

    @property
    def nodes(self) -> int:
        """Drafted nodes a row."""
        return self.parents.shape[1]

    def expand(self, batch: int) -> Tree:
        """The same single-row tree for ``batch`` rows, without copying."""
        return Tree(self.parents.expand(batch, -1), self.max_depth, self.is_chain, self.max_width)

    @cached_property
    def ancestors(self) -> Tensor:
        """``(batch, nodes + 1, nodes + 1)`` bool: column is row's ancestor or itself; 0 the root.

        Found by doubling: after ``k`` squarings of (parent link or self) every ancestor within
        ``2**k`` steps is known.
        """
        if self.is_chain:
            return _causal(self.nodes + 1, self.parents.device).expand(self.batch, -1, -1)
        size = self.nodes + 1
        reach = torch.eye(size, device=self.parents.device).repeat(self.batch, 1, 1)
        reach[:, 1:].scatter_(2, (self.parents + 1).unsqueeze(2), 1.0)
        reached = 1
        while reached < self.max_depth:
            reach = reach.bmm(reach).clamp_(max=1.0)
            reached *= 2
        return reach > 0

    @cached_property
    def depths(self) -> Tensor:
        """``(batch, nodes + 1)`` distance from the root; the root has depth 0."""
        if self.is_chain:
            steps = _steps(self.nodes + 1, self.parents.device)
            return steps.expand(self.batch, -1)
        return self.ancestors.sum(-1) - 1


# Chains are made every round in many lengths; their tensors are read-only and shared.
@lru_cache(maxsize=256)
def _chain(length: int, device: torch.device) -> Tree:
    parents = torch.arange(-1, length - 1, device=device).unsqueeze(0)
    return Tree(parents, length, is_chain=True, max_width=1)


@lru_cache(maxsize=256)
def _causal(size: int, device: torch.device) -> Tensor:
    return torch.ones(1, size, size, dtype=torch.bool, device=device).tril()


@lru_cache(maxsize=256)
def _steps(size: int, device: torch.device) -> Tensor:
    return torch.arange(size, device=device).unsqueeze(0)


@dataclass(frozen=True)
class Candidates:
    """A pool of scored nodes from which a dynamic tree is cut.

    Attributes:
        units: ``(batch, pool)`` proposed tokens, shallow levels first.
        parents: ``(batch, pool)`` pool index of each node's parent, -1 for the root.
        scores: ``(batch, pool)`` log of the product of confidences along the path; never larger
            than the parent's.
        depth: Levels in the pool.
    """

    units: Tensor
    parents: Tensor
    scores: Tensor
    depth: int


def cut(pool: Candidates, budget: int) -> tuple[Tensor, Tree]:
    """The best ``budget`` nodes of a pool as a tree (EAGLE-2, Li et al. 2024, section 4.2).

    A node's score never exceeds its parent's, so the best nodes contain the ancestors of each of
    them; where a child ties with its parent (a confidence of exactly 1) the stable sort keeps the
    shallower one first, which keeps the set closed.

    Returns:
        Pool indices of the kept nodes ``(batch, kept)`` in pool order, and their tree.
    """
    size = pool.scores.shape[1]
    if budget >= size:
        keep = _steps(size, pool.scores.device).expand(pool.scores.shape[0], -1)
        return keep, Tree(pool.parents, pool.depth)
    order = pool.scores.sort(dim=1, descending=True, stable=True).indices
    keep = order[:, :budget].sort(dim=1).values
    place = torch.full_like(pool.parents, -1)
    place.scatter_(1, keep, _steps(budget, keep.device).expand(keep.shape[0], -1))
    parents = pool.parents.gather(1, keep)
    renamed = torch.where(parents < 0, parents, place.gather(1, parents.clamp(min=0)))
    return keep, Tree(renamed, pool.depth)
