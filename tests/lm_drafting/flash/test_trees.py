"""Trees over ranks against slow references."""

from __future__ import annotations

import pytest
import torch

from lm_drafting.flash.trees import PATHS, product_tree, static_tree
from mmspec.trees import Tree
from tests.lm_drafting.flash.networks import slow_product_tree
from tests.lm_drafting.networks import Path, paths

CPU = torch.device("cpu")


def rank_paths(depth: int, width: int, nodes: int) -> set[Path]:
    ranks, tree = static_tree(depth, width, nodes, CPU)
    assert ranks.shape == tree.parents.shape
    assert tree.max_depth == int(tree.depths.max()) <= depth
    return paths(ranks[0], tree.parents[0])


def test_the_whole_official_tree() -> None:
    assert len(PATHS) == 25
    assert rank_paths(5, 4, 25) == rank_paths(9, 10, 99) == set(PATHS)


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("nodes", [1, 3, 8, 25])
def test_what_is_left_of_it_is_a_tree_of_likely_nodes(depth: int, width: int, nodes: int) -> None:
    kept = rank_paths(depth, width, nodes)
    fitting = {path for path in PATHS if len(path) <= depth and max(path) < width}
    assert kept <= fitting
    assert len(kept) == min(nodes, len(fitting))
    assert all(path[:-1] in kept | {()} for path in kept)
    worst = max(len(path) + sum(path) for path in kept)
    assert all(len(path) + sum(path) >= worst for path in fitting - kept)


def test_a_static_tree_of_one_branch_is_a_chain() -> None:
    assert static_tree(3, 1, 3, CPU)[1].is_chain
    assert not static_tree(3, 2, 3, CPU)[1].is_chain


@pytest.mark.parametrize(
    ("depth", "width", "nodes"), [(1, 3, 3), (3, 1, 3), (3, 2, 4), (5, 3, 12), (5, 4, 999)]
)
def test_product_trees_are_the_books(depth: int, width: int, nodes: int) -> None:
    logits = 2 * torch.randn(3, depth, 9, generator=torch.Generator().manual_seed(depth))
    laws = logits.log_softmax(-1)
    logs, units = laws.topk(width, dim=-1)
    ranks, tree = product_tree(logs, nodes)
    for row in range(3):
        found = paths(ranks[row], tree.parents[row])
        tokens = {tuple(int(units[row, d, r]) for d, r in enumerate(path)) for path in found}
        assert tokens == slow_product_tree(laws[row], width, nodes)


def test_certain_tokens_keep_the_tree_closed() -> None:
    """A child of probability 1 ties with its parent; the parent must stay."""
    logs = torch.tensor([[[0.0, -9.0], [0.0, -9.0], [0.0, -9.0]]])
    ranks, tree = product_tree(logs, 3)
    assert paths(ranks[0], tree.parents[0]) == {(0,), (0, 0), (0, 0, 0)}
    assert isinstance(tree, Tree)
