"""The cache after any sequence of writes and commits equals one that never speculated."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmspec.cache import RaggedCache
from mmspec.engine import Engine
from mmspec.messages import Draft, Plan
from mmspec.pacing import Fixed
from mmspec.token_target import TokenTarget, visible
from mmspec.trees import Tree
from tests.core.test_trees import random_tree
from tests.core.toy import AttentionDecoder, Guess, request

LAYERS, HEADS, DIM = 3, 2, 4


def states(batch: int, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, HEADS, count, DIM)
    return [
        (torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
        for _ in range(LAYERS)
    ]


def write(cache: RaggedCache, start: int | Tensor, count: int, longest: int, seed: int) -> list:
    batch = 3
    values = states(batch, count, seed)
    cache.place(start, count, longest)
    views = [cache.layers[i].update(k, v) for i, (k, v) in enumerate(values)]
    return [values, views]


def test_writes_at_one_place_append() -> None:
    cache = RaggedCache(LAYERS, 16)
    first, _ = write(cache, 0, 5, 5, 1)
    second, views = write(cache, 5, 3, 8, 2)
    for layer in range(LAYERS):
        for side in range(2):
            expected = torch.cat([first[layer][side], second[layer][side]], dim=2)
            assert torch.equal(views[layer][side], expected)
    assert cache.get_seq_length() == 5
    assert cache.get_max_cache_shape() == 16
    assert cache.layers[0].get_mask_sizes(3) == (8, 0)


def test_ragged_writes_land_in_each_rows_slots() -> None:
    cache = RaggedCache(LAYERS, 16)
    first, _ = write(cache, 0, 6, 6, 1)
    start = torch.tensor([2, 6, 4])
    second, views = write(cache, start, 3, 9, 2)
    for layer in range(LAYERS):
        for side in range(2):
            for row, at in enumerate(start.tolist()):
                seen = views[layer][side][row]
                assert torch.equal(seen[:, :at], first[layer][side][row, :, :at])
                assert torch.equal(seen[:, at : at + 3], second[layer][side][row])


@pytest.mark.parametrize("ragged", [False, True])
def test_keep_moves_the_path_to_the_front(ragged: bool) -> None:
    cache = RaggedCache(LAYERS, 16)
    write(cache, 0, 5, 5, 1)
    start = torch.tensor([3, 5, 4]) if ragged else 5
    second, _ = write(cache, start, 6, 11, 2)
    path = torch.tensor([[0, 2, 5], [1, -1, -1], [3, 4, -1]])
    cache.keep(start, path)
    _, views = write(cache, 13, 1, 14, 3)
    for row, nodes in enumerate(path.tolist()):
        at = int(start[row]) if isinstance(start, Tensor) else start
        for step, node in enumerate(n for n in nodes if n >= 0):
            for layer in range(LAYERS):
                moved = views[layer][0][row, :, at + step]
                assert torch.equal(moved, second[layer][0][row, :, node])


def test_a_full_cache_says_how_to_get_room() -> None:
    cache = RaggedCache(LAYERS, 8)
    with pytest.raises(
        ValueError, match="holds 8 positions and 9 are needed; raise max_new_tokens"
    ):
        cache.place(6, 3, 9)


def test_memory_is_allocated_once() -> None:
    cache = RaggedCache(LAYERS, 64)
    assert cache.nbytes() == 0
    write(cache, 0, 5, 5, 1)
    size, home = cache.nbytes(), cache._buffer.data_ptr()
    for round_ in range(200):
        start = 5 + round_ % 40
        write(cache, torch.full((3,), start), 6, start + 6, round_)
        cache.keep(torch.full((3,), start), torch.tensor([[0, 2], [1, -1], [3, 5]]))
    assert (cache.nbytes(), cache._buffer.data_ptr()) == (size, home)


@pytest.mark.parametrize("pending", [1, 3])
@pytest.mark.parametrize("ragged", [False, True])
def test_visible_against_brute_force(pending: int, ragged: bool) -> None:
    tree = random_tree(5, 3, 4)
    draft = Draft(torch.zeros(3, 5, dtype=torch.long), tree)
    starts = [2, 7, 4] if ragged else [4, 4, 4]
    longest = max(starts) + pending + 5
    mask = visible(draft, pending, torch.tensor(starts) if ragged else 4, longest)
    for row, start in enumerate(starts):
        for query in range(pending + 5):
            for slot in range(longest):
                offset = slot - start
                node, other = query - pending + 1, offset - pending + 1
                expected = offset < 0 or (offset <= query and node <= 0)
                if node > 0 and 0 <= offset < pending:
                    expected = True
                if node > 0 and 0 < other <= 5:
                    expected = bool(tree.ancestors[row, node, other])
                assert bool(mask[row, 0, query, slot]) == expected, (row, query, slot)


@pytest.mark.parametrize("prompts", [[[1, 2, 3]], [[1, 2, 3], [4, 5, 6, 7, 8], [9]]])
def test_a_tree_scores_like_separate_sequences(prompts: list[list[int]]) -> None:
    """Every branch of a tree, in a ragged batch, against a fresh prefill of that very sequence."""
    decoder = AttentionDecoder()
    target = TokenTarget(decoder)
    state, evidence = target.prefill(
        request(prompts, max_new_tokens=20, temperature=1, lookahead=9)
    )
    batch = len(prompts)
    tree = random_tree(7, batch, 2)
    units = torch.randint(11, (batch, 7), generator=torch.Generator().manual_seed(1))
    first = evidence.law.draw(torch.full((batch, 1), 0.3))
    state.tokens.scatter_(1, state.lengths.unsqueeze(1), first)
    state.lengths = state.lengths + 1
    state.host_lengths = [n + 1 for n in state.host_lengths]
    state.pending = 1
    found = target.score(state, Draft(units, tree)).law.probs
    for row, prompt in enumerate(prompts):
        for node in range(8):
            inside = tree.ancestors[row, node, 1:].nonzero().flatten()
            whole = [*prompt, int(first[row]), *units[row, inside].tolist()]
            _, alone = TokenTarget(decoder).prefill(request([whole], temperature=1))
            assert torch.allclose(found[row, node], alone.law.probs[0, 0], atol=1e-6)


def test_the_cache_after_a_run_equals_a_fresh_prefill() -> None:
    """L11: after trees, refusals and ragged commits every committed slot holds the right states."""
    decoder = AttentionDecoder(vocab=3)
    target = TokenTarget(decoder)
    prompts = [[1, 2, 0], [0, 1, 2, 1, 0], [2]]
    asked = request(prompts, max_new_tokens=24, temperature=1, lookahead=8)
    kept = []
    prefill = target.prefill

    def remember(wanted: object) -> tuple:
        kept.append(prefill(wanted))
        return kept[-1]

    target.prefill = remember  # type: ignore[method-assign]
    engine = Engine(target, Guess(3), pacer=Fixed(Plan(4, 2, 8)), strict=True)
    outputs, _ = engine.generate(asked, seeds=[1, 2, 3])
    state = kept[0][0]
    assert outputs == state.outputs()
    for row, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        whole = [*prompt, *output]
        fresh = decoder.prefill(request([whole]).inputs, 1, None).cache
        used = len(whole) - 1
        mine = state.cache._buffer[:, :, row, :, :used]
        assert torch.allclose(mine, fresh._buffer[:, :, 0, :, :used], atol=1e-9)


def test_chain_mask_is_shared_by_the_rows() -> None:
    draft = Draft(torch.zeros(3, 2, dtype=torch.long), Tree.chain(3, 2))
    assert visible(draft, 1, 4, 7).shape == (1, 1, 3, 7)
