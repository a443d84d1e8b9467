"""Trees whose siblings are drawn without replacement from one law."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from mmspec.distributions import Categorical, Law, OneHot, draw_siblings
from mmspec.messages import Draft, Plan
from mmspec.noise import Noise
from mmspec.trees import Tree

STREAM = "draft"


@dataclass(frozen=True)
class Branching:
    """Children of every node, level by level (RSD-C, Jeon et al. 2024).

    Attributes:
        widths: Children of each node of the level before; the first entry is the root's.
    """

    widths: tuple[int, ...]

    @classmethod
    def fit(cls, plan: Plan) -> Branching:
        """The shape that branches as near the root as ``plan.nodes`` allows.

        Early siblings decide whether anything is accepted, so they come first.
        """
        widths = [1] * min(plan.length, plan.nodes)
        for level in range(len(widths)):
            for width in range(plan.width, 1, -1):
                wider = [*widths[:level], width, *widths[level + 1 :]]
                if sum(accumulate(wider, mul)) <= plan.nodes:
                    widths = wider
                    break
        return cls(tuple(widths))

    def frontier(self, level: int) -> slice:
        """Evidence rows of the nodes that get children at ``level``."""
        sizes = list(accumulate(self.widths[:level], mul))
        if not sizes:
            return slice(0, 1)
        return slice(1 + sum(sizes[:-1]), 1 + sum(sizes))

    def tree(self, level: int, batch: int, device: torch.device) -> Tree:
        """Topology of the first ``level + 1`` levels."""
        tree = _topology(self.widths[: level + 1], device)
        return tree if batch == 1 else tree.expand(batch)


def draw_children(
    draft: Draft, law: Law, shape: Branching, level: int, width: int, noise: Noise
) -> Draft:
    """The draft with one more level.

    For a greedy target the ``width`` most likely tokens. Otherwise siblings are drawn one after the
    other, each from the law with the earlier ones removed, and that very law is recorded.

    Args:
        draft: The levels so far.
        law: Law after the root and every node of it.
        shape: Children per level.
        level: Level to add.
        width: Children of a node there.
        noise: Gives the numbers to draw with.
    """
    rows, tree = shape.frontier(level), shape.tree(level, draft.batch, draft.units.device)
    valid = _parents_valid(draft, rows)
    if isinstance(law, Categorical):
        q = law.probs[:, rows]
        uniforms = noise.fresh(STREAM, q.shape[1] * width).unflatten(1, (-1, width))
        units, laws, there = draw_siblings(q, uniforms)
        units, laws = units.flatten(1), laws.flatten(1, 2)
        valid = (valid.unsqueeze(2) & there).flatten(1)
        known = draft.law.probs if isinstance(draft.law, Categorical) else laws[:, :0]
        chance = laws.gather(-1, units.unsqueeze(-1)).squeeze(-1)
        recorded: Law = Categorical(torch.cat([known, laws], 1))
    else:
        logs = scores_of(law)[:, rows].log_softmax(-1)
        best, children = logs.topk(width, dim=-1)
        units, chance, recorded = children.flatten(1), best.exp().flatten(1), OneHot()
        valid = valid.repeat_interleave(width, 1)
    confidence = chance if draft.confidence is None else torch.cat([draft.confidence, chance], 1)
    earlier = units[:, :0].bool() if draft.valid is None else draft.valid
    return Draft(
        units=torch.cat([draft.units, units], 1),
        tree=tree,
        law=recorded,
        valid=torch.cat([earlier, valid], 1),
        confidence=confidence,
        healthy=confidence.isfinite().all(1),
    )


def scores_of(law: Law) -> Tensor:
    """The logits ``(batch, rows, vocab)`` a greedy law was chosen from."""
    if not isinstance(law, OneHot) or law.scores is None:
        raise TypeError(f"a law with scores is needed to rank tokens, got {type(law).__name__}")
    return law.scores


def _parents_valid(draft: Draft, rows: slice) -> Tensor:
    """``(batch, parents)`` whether the nodes at evidence ``rows`` exist; the root always does."""
    root = torch.ones(draft.batch, 1, dtype=torch.bool, device=draft.units.device)
    if draft.valid is None:
        return root
    return torch.cat([root, draft.valid], 1)[:, rows]


@lru_cache(maxsize=256)
def _topology(widths: tuple[int, ...], device: torch.device) -> Tree:
    parents, level, size = [], [-1], 0
    for width in widths:
        parents += [parent for parent in level for _ in range(width)]
        level = list(range(size, len(parents)))
        size = len(parents)
    tree = torch.tensor([parents], device=device)
    return Tree(tree, len(widths), is_chain=max(widths) == 1, max_width=max(widths))
