"""Static draft trees: which of the children drawn at a node are submitted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mmspec.messages import Plan
from mmspec.options import one_of
from mmspec.trees import Tree


def _paths(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, path)) for path in text.split())


# LANTERN's trees, as the rank of the child taken at each depth.
NAMED: dict[str, tuple[tuple[int, ...], ...]] = {
    "mc_sim_7b_63": _paths(
        "0 1 2 3 00 01 02 10 11 20 21 30 000 001 002 010 011 020 021 100 0000 0001 0002 00000 00001"
    ),
    "naive_extend_57": _paths(
        "0 1 2 3 4 00 01 02 03 10 11 12 20 21 22 30 31 40 "
        "000 001 002 003 010 011 012 020 021 022 030 031 100 101 110 200 "
        "0000 0001 0002 0003 0010 0011 0012 0020 0021 0030 0100 0101 0110 0200 "
        "00000 00001 00002 00010 00011 00100 00101 00110 00200"
    ),
}
CHECKS = {"tree": one_of(NAMED)}


@dataclass(frozen=True)
class Level:
    """The nodes of one depth.

    Attributes:
        parents: Evidence row (0 the root, ``node + 1`` a node) of the parent of each node.
        ranks: Which of the parent's children each node is, in the order of drawing.
        width: Children drawn at every parent.
    """

    parents: tuple[int, ...]
    ranks: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class Shape:
    """A static tree, level by level.

    Attributes:
        tree: Its topology, one row.
        levels: Its nodes by depth; numbered through in this order.
    """

    tree: Tree
    levels: tuple[Level, ...]


def shape_of(plan: Plan, name: str) -> Shape:
    """The tree for a plan: a chain where it has width 1, else a named tree cut to its depth.

    Raises:
        ValueError: No such tree.
    """
    CHECKS["tree"]("tree", name)
    if plan.width == 1:
        return _shape(tuple((0,) * depth for depth in range(1, plan.length + 1)))
    kept = [path for path in NAMED[name] if len(path) <= plan.length and max(path) < plan.width]
    ordered = sorted(kept, key=lambda path: (len(path), path))
    return _shape(tuple(ordered[: plan.nodes]))


@lru_cache(maxsize=64)
def _shape(paths: tuple[tuple[int, ...], ...]) -> Shape:
    rows = {(): 0} | {path: node + 1 for node, path in enumerate(paths)}
    levels = []
    for depth in range(1, 1 + max(map(len, paths))):
        own = [path for path in paths if len(path) == depth]
        parents = tuple(rows[path[:-1]] for path in own)
        ranks = tuple(path[-1] for path in own)
        levels.append(Level(parents, ranks, 1 + max(ranks)))
    return Shape(Tree.static(paths), tuple(levels))
