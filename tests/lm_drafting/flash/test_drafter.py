"""Drafts from one pass: equal to plain decoding, to slow references, and to the book's trees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lm_drafting.flash import ParallelDrafter
from mmspec.messages import Draft, Plan
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.lm_drafting.flash.networks import (
    COMPRESSOR,
    K,
    make_flash,
    make_linear,
    make_repeater,
    slow_laws,
    slow_product_tree,
    slow_static_tree,
    text_of,
)
from tests.lm_drafting.networks import paths, run_network
from tests.lm_drafting.toy import HIDDEN, Spy, ToyTarget, plain, prompts, request, run

# Plans a run walks through, and the form of its trees.
WAYS: dict[str, tuple[list[Plan], Any]] = {
    "chain": ([Plan(4)], "product"),
    "longer than k": ([Plan(9)], "product"),
    "doubtful chain": ([Plan(5, stop_below=0.1)], "product"),
    "product": ([Plan(3, 3, 8)], "product"),
    "static": ([Plan(9, 3, 14)], "static"),
    "all": ([Plan(4), Plan(0), Plan(0), Plan(3, 3, 8), Plan(7, 4), Plan(2, 4, 7)], "product"),
}


@pytest.fixture(scope="module")
def target() -> ToyTarget:
    return ToyTarget()


def with_pictures(target: ToyTarget, rows: int, **options: Any) -> Request:
    """Prompts with 0, 1 and 2 pictures each."""
    generator = torch.Generator().manual_seed(4)
    shown = [
        [torch.randn(3, HIDDEN, generator=generator) * 0.02] * (row % 3) for row in range(rows)
    ]
    return Request(target.prepare(shown, ["abc", "hello there", "x"][:rows]), Sampling(**options))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lengths", [[9], [9, 5, 1]])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_output_is_the_targets(
    target: ToyTarget, way: str, lengths: list[int], temperature: float
) -> None:
    """A deterministic draft leaves even sampled output as it is, token for token."""
    plans, tree = WAYS[way]
    asked = request(prompts(lengths), max_new_tokens=20, temperature=temperature, stop_ids=(7, 13))
    seeds = list(range(len(lengths)))
    drafter = ParallelDrafter(make_repeater(), target, tree=tree)
    got, _ = run(target, drafter, asked, *plans, seeds=seeds)
    assert got == plain(target, asked, seeds)


@pytest.mark.parametrize("way", ["product", "static", "all"])
@pytest.mark.parametrize("official", [False, True])
def test_output_with_pictures_is_the_targets(target: ToyTarget, way: str, official: bool) -> None:
    plans, tree = WAYS[way]
    asked = with_pictures(target, 3, max_new_tokens=20)
    network = make_repeater(compressor=COMPRESSOR, official=official)
    got, trace = run(target, ParallelDrafter(network, target, tree=tree), asked, *plans)
    assert got == plain(target, asked)
    assert trace.acceptance_length > 1.0


@pytest.mark.parametrize(
    ("plan", "tree"),
    [(Plan(5), "product"), (Plan(5, 2, 10), "product"), (Plan(5, 4, 25), "static")],
)
def test_a_network_that_knows_the_target_is_accepted_throughout(plan: Plan, tree: Any) -> None:
    """The target counts upwards; head ``i`` moves the token it is given by ``i``."""
    target = ToyTarget(vocab=HIDDEN)
    for layer in target.model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    eye = torch.eye(HIDDEN)
    target.model.get_input_embeddings().weight.copy_(HIDDEN**0.5 * eye)
    target.model.lm_head.weight.copy_(20 * eye.roll(1, 0))  # the token after t is t + 1
    maps = torch.stack([eye.roll(i, 0) for i in range(K)])
    network = make_linear(torch.cat([eye, 0 * eye], 1), maps, vocab=HIDDEN)
    drafter = ParallelDrafter(network, target, tree=tree)
    _, trace = run(target, drafter, request(prompts([9, 5], vocab=HIDDEN), max_new_tokens=31), plan)
    assert trace.acceptance_by_position == [1.0] * K


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("rows", "compressor"), [(1, None), (3, COMPRESSOR)])
def test_cache_and_drafts_equal_slow_references(
    target: ToyTarget, way: str, rows: int, compressor: Any
) -> None:
    """After any history: the cache holds real rows alone, chains and trees are the book's."""
    plans, tree = WAYS[way]
    network = make_flash(compressor=compressor)
    drafter = ParallelDrafter(network, target, tree=tree)
    asked = with_pictures(target, rows, max_new_tokens=9)
    drawing = [plan for plan in plans if plan.length]
    first = 1 % len(plans)  # the pacer of these tests begins with the second plan
    turn = [sum(plan.length > 0 for plan in plans[:first])]

    def look(state: Any, draft: Draft) -> None:
        plan = drawing[turn[0] % len(drawing)]
        turn[0] += 1
        depth = min(plan.length, K)
        assert drafter._memory is not None
        for row in range(rows):
            if state.finished[row]:
                continue
            text = text_of(network, target, asked, state, row)
            kept = drafter._memory.slots.read(row, text[0].shape[1])
            assert torch.allclose(kept, run_network(network, *text)[1], atol=2e-5)
            laws = slow_laws(network, target, text)[:depth]
            found = paths(draft.units[row], draft.tree.parents[row])
            budget = plan.budget or depth * plan.width
            if plan.width == 1:
                assert draft.units[row].tolist() == laws.argmax(-1)[: draft.nodes].tolist()
            elif tree == "static":
                assert found == slow_static_tree(laws, plan.width, budget)
            else:
                assert found == slow_product_tree(laws, plan.width, budget)
            assert draft.confidence is not None
            level = draft.tree.depths[row, 1:] - 1
            wanted = laws.exp()[level, draft.units[row]]
            assert torch.allclose(draft.confidence[row], wanted, atol=1e-4)

    run(target, Spy(drafter, look), asked, *plans)
    assert turn[0] > 2


def test_pictures_are_shortened(target: ToyTarget) -> None:
    network = make_flash(compressor=COMPRESSOR)
    drafter = ParallelDrafter(network, target)
    run(target, drafter, with_pictures(target, 3, max_new_tokens=4), Plan(2))
    assert drafter._memory is not None
    assert drafter._memory.notes.layout.removed == [0, 1, 4]  # two adjacent pictures are one run


@pytest.mark.parametrize("plan", [Plan(1), Plan(5), Plan(5, 3, 12)])
def test_a_round_costs_one_pass(target: ToyTarget, plan: Plan) -> None:
    network, passes, drafts = make_repeater(), [0], [0]

    def count(*_: Any) -> None:
        passes[0] += 1

    def look(state: Any, draft: Draft) -> None:
        drafts[0] += 1
        assert passes == drafts

    network.register_forward_hook(count)
    asked = request(prompts([9, 5]), max_new_tokens=20)
    run(target, Spy(ParallelDrafter(network, target), look), asked, plan)
    assert passes[0] > 2


class NoReading(TorchDispatchMode):
    """Refuses to bring numbers to the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "_local_scalar_dense" not in str(func), "a number was read on the host"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("tree", ["product", "static"])
@pytest.mark.parametrize("plan", [Plan(5), Plan(5, 3, 12)])
def test_nothing_is_read_on_the_host(target: ToyTarget, plan: Plan, tree: Any) -> None:
    """Beyond the first draft, which finds the prompt's pictures."""
    drafter = ParallelDrafter(make_repeater(), target, tree=tree)
    begun = []

    class Strict(Spy):
        def draft(self, state: Any, plan: Plan, noise: Any) -> Draft:
            if not begun:
                begun.append(True)
                return super().draft(state, plan, noise)
            with NoReading():
                return super().draft(state, plan, noise)

    run(target, Strict(drafter, lambda *_: None), request(prompts([9, 5]), max_new_tokens=20), plan)
    with pytest.raises(AssertionError, match="on the host"), NoReading():
        torch.ones(1).item()


def test_a_batch_drafts_what_its_rows_draft_alone(target: ToyTarget) -> None:
    rows = prompts([9, 5, 7])
    seen: dict[int, list[list[int]]] = {}
    for group in ([0, 1, 2], [0], [1], [2]):
        drafts: list[list[int]] = []

        def look(state: Any, draft: Draft, drafts: list[list[int]] = drafts) -> None:
            drafts.extend(draft.units.tolist())

        asked = request([rows[index] for index in group], max_new_tokens=2)
        run(target, Spy(ParallelDrafter(make_flash(), target), look), asked, Plan(3, 3, 7))
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
    drafter = ParallelDrafter(make_repeater(), target)
    run(target, Spy(drafter, look), asked, Plan(5, stop_below=0.5))
    assert len(set(lengths)) > 1


def test_temperature_spreads_confidence_and_keeps_the_chain(target: ToyTarget) -> None:
    drafts: list[Draft] = []
    for temperature in (1.0, 4.0):
        drafter = ParallelDrafter(make_flash(), target, temperature)
        asked = request(prompts([9]), max_new_tokens=2)
        run(target, Spy(drafter, lambda _, draft: drafts.append(draft)), asked, Plan(5))
    sharp, flat = drafts
    assert torch.equal(sharp.units, flat.units)
    assert (sharp.confidence > flat.confidence).all()  # type: ignore[operator]


@pytest.mark.parametrize("plan", [Plan(3), Plan(3, 2, 5)])
def test_numbers_that_are_not_finite_are_reported(target: ToyTarget, plan: Plan) -> None:
    network = make_flash()
    network.fc.weight.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="not finite"):
        run(target, ParallelDrafter(network, target), request(prompts([9]), max_new_tokens=9), plan)


def test_requests_do_not_leak_into_one_another(target: ToyTarget) -> None:
    drafter = ParallelDrafter(make_repeater(), target)
    first, second = (request(prompts(lengths), max_new_tokens=20) for lengths in ([9], [4, 6]))
    run(target, drafter, first, Plan(4))
    got, _ = run(target, drafter, second, Plan(3, 3, 8))
    assert got == plain(target, second)


def test_wrong_use_is_refused(target: ToyTarget) -> None:
    with pytest.raises(ValueError, match="unknown tree 'bush'"):
        ParallelDrafter(make_flash(), target, tree="bush")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="vocabulary 50"):
        ParallelDrafter(make_flash(), ToyTarget(layers=1, vocab=60))
    with pytest.raises(ValueError, match="before the prefill"):
        ParallelDrafter(make_flash(), target).draft(None, Plan(2), None)  # type: ignore[arg-type]
