"""Topologies against brute force."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from mmspec.rules.walk import has_child, longest_path
from mmspec.trees import Candidates, Tree, cut


def random_tree(nodes: int, batch: int, seed: int) -> Tree:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(batch, nodes, generator=generator)
    parents = (share * (torch.arange(nodes) + 1)).long() - 1
    return Tree(parents, nodes)


def branch(parents: list[int], node: int) -> list[int]:
    """Nodes from the root's child to ``node``."""
    path = []
    while node >= 0:
        path.append(node)
        node = parents[node]
    return path[::-1]


@pytest.mark.parametrize("nodes", [1, 2, 5, 9, 17])
def test_ancestors_and_depths_of_random_trees(nodes: int) -> None:
    tree = random_tree(nodes, 6, nodes)
    for row, parents in enumerate(tree.parents.tolist()):
        for node in range(-1, nodes):
            path = branch(parents, node)
            expected = {0} | {n + 1 for n in path}
            assert set(tree.ancestors[row, node + 1].nonzero().flatten().tolist()) == expected
            assert tree.depths[row, node + 1] == len(path)


@pytest.mark.parametrize("length", [0, 1, 4])
def test_a_chain_equals_the_tree_with_its_parents(length: int) -> None:
    chain = Tree.chain(3, length)
    slow = Tree(chain.parents, length)
    assert torch.equal(chain.ancestors, slow.ancestors)
    assert torch.equal(chain.depths, slow.depths)


def test_static_tree() -> None:
    tree = Tree.static([[1], [0, 0], [0], [0, 0, 1], [0, 1]], batch=2)
    assert tree.parents.tolist() == [[-1, -1, 0, 0, 2]] * 2
    assert (tree.max_depth, tree.max_width, tree.is_chain) == (3, 2, False)
    assert Tree.static([[0], [0, 0]]).is_chain
    assert Tree.static([]).nodes == 0


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([[0], [1, 0]], r"\[1, 0\] lacks its prefix; add it"),
        ([[0], [0]], "repeat"),
        ([[]], "lacks its prefix"),
    ],
)
def test_static_tree_errors_say_what_is_wrong(paths: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tree.static(paths)


def pool_of(seed: int, batch: int = 4, size: int = 24, certain: float = 0.4) -> Candidates:
    """A random pool; a share of the children has confidence exactly 1 and ties with its parent."""
    generator = torch.Generator().manual_seed(seed)
    levels = [4, 8, 12]
    assert sum(levels) == size
    parents, scores = (
        [torch.full((batch, 4), -1)],
        [torch.rand(batch, 4, generator=generator).log()],
    )
    start = 0
    for below, level in pairwise(levels):
        parent = torch.randint(start, start + below, (batch, level), generator=generator)
        step = torch.rand(batch, level, generator=generator).log()
        tie = torch.rand(batch, level, generator=generator) < certain
        step = torch.where(tie, 0.0, step)
        scores.append(torch.cat(scores, 1).gather(1, parent) + step)
        parents.append(parent)
        start += below
    units = torch.randint(9, (batch, size), generator=generator)
    return Candidates(units, torch.cat(parents, 1), torch.cat(scores, 1), len(levels))


def token_paths(units: list[int], parents: list[int]) -> set[tuple[int, ...]]:
    """Trees compare as sets of token paths: node order differs between implementations."""
    return {tuple(units[n] for n in branch(parents, node)) for node in range(len(units))}


def sorted_reference(pool: Candidates, row: int, budget: int) -> set[tuple[int, ...]]:
    scores = pool.scores[row].tolist()
    parents, units = pool.parents[row].tolist(), pool.units[row].tolist()
    best = sorted(range(len(scores)), key=lambda n: (-scores[n], n))[:budget]
    return {tuple(units[n] for n in branch(parents, node)) for node in best}


@pytest.mark.parametrize("budget", [1, 2, 7, 15, 23, 24, 60])
@pytest.mark.parametrize("seed", range(5))
def test_cut_keeps_the_best_closed_set(seed: int, budget: int) -> None:
    pool = pool_of(seed)
    keep, tree = cut(pool, budget)
    assert keep.shape[1] == tree.nodes == min(budget, 24)
    for row in range(4):
        parents = tree.parents[row].tolist()
        assert all(parent < node for node, parent in enumerate(parents))
        old = pool.parents[row].tolist()
        kept = keep[row].tolist()
        for node, parent in zip(kept, parents, strict=True):
            assert old[node] == (kept[parent] if parent >= 0 else -1)
        found = token_paths(pool.units[row, keep[row]].tolist(), parents)
        assert found == sorted_reference(pool, row, budget)


def test_a_child_that_ties_with_its_parent_never_replaces_it() -> None:
    parents = torch.tensor([[-1, -1, 1, 2, 3]])
    scores = torch.tensor([[-1.0, 0.0, 0.0, 0.0, 0.0]])
    for budget in range(1, 5):
        keep, tree = cut(Candidates(torch.arange(5).unsqueeze(0), parents, scores, 4), budget)
        assert keep[0].tolist() == [1, 2, 3, 4][:budget]
        assert tree.parents[0].tolist() == list(range(-1, budget - 1))


@pytest.mark.parametrize("nodes", [1, 4, 12])
def test_longest_path_against_brute_force(nodes: int) -> None:
    generator = torch.Generator().manual_seed(nodes)
    tree = random_tree(nodes, 200, nodes)
    agrees = torch.rand(200, nodes, generator=generator) < 0.7
    path, accepted, end = longest_path(tree, agrees)
    children = has_child(tree, end, None)
    for row, parents in enumerate(tree.parents.tolist()):
        good = [
            branch(parents, node)
            for node in range(nodes)
            if all(agrees[row, n] for n in branch(parents, node))
        ]
        longest = max((len(p) for p in good), default=0)
        found = [n for n in path[row].tolist() if n >= 0]
        assert accepted[row] == longest == len(found)
        assert not found or found in good
        assert path[row].tolist() == found + [-1] * (nodes - longest)
        assert end[row] == (found[-1] + 1 if found else 0)
        assert bool(children[row]) == ((found[-1] if found else -1) in parents)


def test_an_empty_tree_that_is_no_chain() -> None:
    tree = Tree(torch.empty(2, 0, dtype=torch.long), 3)
    path, accepted, end = longest_path(tree, torch.empty(2, 0, dtype=torch.bool))
    assert path.shape == (2, 0)
    assert accepted.tolist() == end.tolist() == [0, 0]
