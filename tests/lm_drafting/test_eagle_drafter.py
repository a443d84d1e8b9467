"""Chains and dynamic trees: equal to plain decoding and to slow references."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lm_drafting.eagle import EagleDrafter
from mmspec.messages import Draft, Plan
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.lm_drafting.eagles import SlowTree, make_head, paths, real_pairs, run_head
from tests.lm_drafting.toy import HIDDEN, PICTURE, Spy, ToyTarget, plain, prompts, request, run

PLANS = [
    [Plan(4)],
    [Plan(1)],
    [Plan(3, 3, 8)],
    [Plan(1, 3)],
    [Plan(3, stop_below=0.1)],
    [Plan(4), Plan(0), Plan(0), Plan(3, 3, 8), Plan(2), Plan(0), Plan(2, 4, 7)],
]


@pytest.fixture(scope="module")
def target() -> ToyTarget:
    return ToyTarget()


def with_pictures(target: ToyTarget, rows: int, **options: Any) -> Request:
    """Prompts with 0, 1 and 2 pictures each."""
    generator = torch.Generator().manual_seed(4)
    shown = [
        [torch.randn(3, HIDDEN, generator=generator) * 0.02] * (row % 3) for row in range(rows)
    ]
    texts = ["abc", "hello there", "x", "four"][:rows]
    return Request(target.prepare(shown, texts), Sampling(**options))


@pytest.mark.parametrize("plans", PLANS)
@pytest.mark.parametrize("lengths", [[9], [6, 6], [9, 5, 1]])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_output_is_the_targets(
    target: ToyTarget, plans: list[Plan], lengths: list[int], temperature: float
) -> None:
    """A deterministic draft leaves even sampled output as it is, token for token."""
    asked = request(prompts(lengths), max_new_tokens=30, temperature=temperature, stop_ids=(7, 13))
    seeds = list(range(len(lengths)))
    drafter = EagleDrafter(make_head(noise=0.02), target)
    got, _ = run(target, drafter, asked, *plans, seeds=seeds)
    assert got == plain(target, asked, seeds)


@pytest.mark.parametrize("plans", PLANS)
def test_output_with_pictures_is_the_targets(target: ToyTarget, plans: list[Plan]) -> None:
    asked = with_pictures(target, 4, max_new_tokens=30)
    got, trace = run(target, EagleDrafter(make_head(noise=0.02), target), asked, *plans)
    assert got == plain(target, asked)
    assert trace.acceptance_length > 1.0


@pytest.mark.parametrize("plan", [Plan(4), Plan(4, 2, 6)])
def test_a_head_that_knows_the_target_is_accepted_throughout(plan: Plan) -> None:
    """The target's next token depends on the last one only; the head passes its embedding on."""
    target = ToyTarget(sharp=200.0)
    for layer in target.model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    head = make_head(noise=0.0)
    head.fc.weight[:, :HIDDEN] = 50 * torch.eye(HIDDEN)  # about what the final norm does
    head.fc.weight[:, HIDDEN:] = 0
    asked = request(prompts([9, 5]), max_new_tokens=41)
    _, trace = run(target, EagleDrafter(head, target), asked, plan)
    assert trace.acceptance_by_position == [1.0] * 4


@pytest.mark.parametrize("plans", PLANS)
@pytest.mark.parametrize("rows", [1, 3])
def test_cache_and_tree_equal_slow_references(
    target: ToyTarget, plans: list[Plan], rows: int
) -> None:
    """After any history: the cache holds real pairs alone, trees are the book's."""
    head = make_head()
    drafter = EagleDrafter(head, target)
    asked = with_pictures(target, rows, max_new_tokens=16)
    turn = [0]

    def look(state: Any, draft: Draft) -> None:
        while not plans[(turn[0] + 1) % len(plans)].length:
            turn[0] += 1
        turn[0] += 1
        plan = plans[turn[0] % len(plans)]
        assert drafter._memory is not None
        slots = drafter._memory.slots
        for row, length in enumerate(state.host_lengths):
            if state.finished[row]:
                continue
            tokens = state.tokens[row, :length].tolist()
            pairs = real_pairs(target, pictures_of(asked, row), tokens)
            _, kept = run_head(head, pairs)
            assert torch.allclose(slots.read(row, length - 1), kept, atol=2e-5)
            found = paths(draft.units[row], draft.tree.parents[row])
            slow = SlowTree(head, target, pairs)
            if plan.width > 1:
                assert found == slow.tree(plan.length, plan.width, plan.nodes)
            else:
                assert found <= slow.tree(plan.length, 1, plan.length)
            assert draft.confidence is not None
            first = draft.confidence[row, 0].log()
            assert torch.allclose(first, slow.logs(())[draft.units[row, 0]], atol=1e-4)

    run(target, Spy(drafter, look), asked, *plans)
    assert turn[0] > 2


def pictures_of(asked: Request, row: int) -> dict[str, Any]:
    """The pictures of one row of a batch."""
    ids, pixels = asked.inputs["input_ids"], asked.inputs.get("pixel_values")
    counts = ((ids == PICTURE).sum(1) // 3).tolist()
    if not counts[row] or pixels is None:
        return {}
    begin = sum(counts[:row])
    return {"pixel_values": pixels[begin : begin + counts[row]]}


def test_pictures_reach_the_drafter(target: ToyTarget) -> None:
    """Another picture, other first pairs: the projected features are read."""
    drafts = []
    for sign in (1.0, -1.0):
        shown = [[sign * torch.ones(3, HIDDEN)]]
        asked = Request(target.prepare(shown, ["a"]), Sampling(max_new_tokens=4))
        drafter = EagleDrafter(make_head(), target)
        run(target, drafter, asked, Plan(2))
        assert drafter._memory is not None
        with torch.inference_mode():  # the rows are written when they are read
            drafts.append(drafter._memory.notes.pairs[0, :3, :HIDDEN])
    assert torch.allclose(drafts[0][:2], torch.ones(2, HIDDEN))
    assert torch.allclose(drafts[1][:2], -torch.ones(2, HIDDEN))


def test_a_batch_drafts_what_its_rows_draft_alone(target: ToyTarget) -> None:
    rows = prompts([9, 5, 7])
    seen: dict[int, list[list[int]]] = {}
    for group in ([0, 1, 2], [0], [1], [2]):
        drafts: list[list[int]] = []

        def look(state: Any, draft: Draft, drafts: list[list[int]] = drafts) -> None:
            drafts.extend(units for units in draft.units.tolist())

        asked = request([rows[index] for index in group], max_new_tokens=2)
        run(target, Spy(EagleDrafter(make_head(), target), look), asked, Plan(3, 3, 7))
        for index, units in zip(group, drafts, strict=False):
            seen.setdefault(index, []).append(units)
    assert all(first == second for first, second in seen.values())


def test_doubt_ends_a_chain_after_the_doubtful_unit(target: ToyTarget) -> None:
    lengths = []

    def look(state: Any, draft: Draft) -> None:
        assert draft.confidence is not None
        assert draft.valid is not None
        sure = (draft.confidence[0] >= 0.5).tolist()
        wanted = sure.index(False) + 1 if False in sure else len(sure)
        assert int(draft.valid.sum()) == wanted == draft.nodes
        lengths.append(draft.nodes)

    asked = request(prompts([9]), max_new_tokens=40)
    drafter = EagleDrafter(make_head(noise=0.02), target)
    run(target, Spy(drafter, look), asked, Plan(5, stop_below=0.5))
    assert len(set(lengths)) > 1


def test_numbers_that_are_not_finite_are_reported(target: ToyTarget) -> None:
    head = make_head()
    head.down_proj.weight.fill_(float("nan"))
    asked = request(prompts([9]), max_new_tokens=10)
    with pytest.raises(RuntimeError, match="not finite"):
        run(target, EagleDrafter(head, target), asked, Plan(3))
    with pytest.raises(RuntimeError, match="not finite"):
        run(target, EagleDrafter(head, target), asked, Plan(3, 2, 5))


def test_requests_do_not_leak_into_one_another(target: ToyTarget) -> None:
    drafter = EagleDrafter(make_head(noise=0.02), target)
    first, second = (
        request(prompts([9]), max_new_tokens=20),
        request(prompts([4, 6]), max_new_tokens=20),
    )
    alone, _ = run(target, EagleDrafter(make_head(noise=0.02), target), second, Plan(3, 3, 8))
    run(target, drafter, first, Plan(4))
    got, _ = run(target, drafter, second, Plan(3, 3, 8))
    assert got == alone == plain(target, second)
