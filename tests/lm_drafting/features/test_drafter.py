"""Chains and dynamic trees: equal to plain decoding and to slow references."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lm_drafting.features.drafter import FeatureDrafter
from mmspec.engine import Engine
from mmspec.messages import Draft, Plan
from mmspec.pacing import Fixed
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trace import Trace
from tests.lm_drafting.networks import (
    COMPRESSORS,
    SlowTree,
    make_network,
    paths,
    real_rows,
    run_network,
)
from tests.lm_drafting.toy import HIDDEN, PICTURE, Spy, ToyTarget, plain, prompts, request, run

PLANS = [
    [Plan(4)],
    [Plan(1)],
    [Plan(3, 3, 8)],
    [Plan(1, 3)],
    [Plan(3, stop_below=0.1)],
    [Plan(4), Plan(0), Plan(0), Plan(3, 3, 8), Plan(2), Plan(0), Plan(2, 4, 7)],
]
LAWS: list[dict[str, float]] = [
    {"temperature": 0.0},
    {"temperature": 0.5},
    {"temperature": 1.0},
    {"temperature": 1.0, "top_p": 0.9},
]
# Every compressor behind every network that is fed back its own predictions.
DRAFTERS = [(kind, name) for kind in ("eagle", "vispec", "specvlm") for name in COMPRESSORS]


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
    drafter = FeatureDrafter(make_network(noise=0.02), target)
    got, _ = run(target, drafter, asked, *plans, seeds=seeds)
    assert got == plain(target, asked, seeds)


@pytest.mark.parametrize("plans", [PLANS[0], PLANS[-1]], ids=["chain", "changing"])
@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize(("kind", "compressor"), DRAFTERS)
def test_output_with_pictures_is_the_targets(
    target: ToyTarget, plans: list[Plan], law: dict[str, float], kind: str, compressor: str
) -> None:
    network = make_network(kind, noise=0.02, compressor=COMPRESSORS[compressor])
    asked = with_pictures(target, 4, max_new_tokens=30, **law)
    seeds = [0, 1, 2, 3]
    got, trace = run(target, FeatureDrafter(network, target), asked, *plans, seeds=seeds)
    assert got == plain(target, asked, seeds)
    assert trace.acceptance_length > 1.0


@pytest.mark.parametrize("plan", [Plan(4), Plan(4, 2, 6)])
def test_a_head_that_knows_the_target_is_accepted_throughout(plan: Plan) -> None:
    """The target's next token depends on the last one only; the head passes its embedding on."""
    target = ToyTarget(sharp=200.0)
    for layer in target.model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    head = make_network(noise=0.0)
    head.fc.weight[:, :HIDDEN] = 50 * torch.eye(HIDDEN)  # about what the final norm does
    head.fc.weight[:, HIDDEN:] = 0
    asked = request(prompts([9, 5]), max_new_tokens=41)
    _, trace = run(target, FeatureDrafter(head, target), asked, plan)
    assert trace.acceptance_by_position == [1.0] * 4


@pytest.mark.parametrize("plans", PLANS)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    ("kind", "compressor"),
    [("eagle", "none"), ("vispec", "queries"), ("specvlm", "elastic"), ("vispec", "text-only")],
)
def test_cache_and_tree_equal_slow_references(
    target: ToyTarget, plans: list[Plan], rows: int, kind: str, compressor: str
) -> None:
    """After any history: the cache holds real rows alone, trees are the book's."""
    network = make_network(kind, compressor=COMPRESSORS[compressor])
    drafter = FeatureDrafter(network, target)
    asked = with_pictures(target, rows, max_new_tokens=16)
    turn = [0]

    def look(state: Any, draft: Draft) -> None:
        while not plans[(turn[0] + 1) % len(plans)].length:
            turn[0] += 1
        turn[0] += 1
        plan = plans[turn[0] % len(plans)]
        assert drafter._memory is not None
        slots, layout = drafter._memory.slots, drafter._memory.notes.layout
        shown = (state.prompt.inputs["input_ids"] == PICTURE).sum(1)
        assert [gone > 0 for gone in layout.removed] == [
            bool(tokens) and compressor != "none" for tokens in shown.tolist()
        ]
        for row, length in enumerate(state.host_lengths):
            if state.finished[row]:
                continue
            tokens = state.tokens[row, :length].tolist()
            prompt = state.prompt.lengths[row]
            real = real_rows(network, target, pictures_of(asked, row), tokens, prompt)
            _, kept = run_network(network, *real)
            assert kept.shape[2] == length - 1 - layout.removed[row]
            assert torch.allclose(slots.read(row, kept.shape[2]), kept, atol=2e-5)
            found = paths(draft.units[row], draft.tree.parents[row])
            summary = None if layout.summary is None else layout.summary[row : row + 1]
            slow = SlowTree(network, target, *real, summary)
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
    """Another picture, other first rows: the projected features are read."""
    rows = []
    for sign in (1.0, -1.0):
        shown = [[sign * torch.ones(3, HIDDEN)]]
        asked = Request(target.prepare(shown, ["a"]), Sampling(max_new_tokens=4))
        drafter = FeatureDrafter(make_network(), target)
        run(target, drafter, asked, Plan(2))
        assert drafter._memory is not None
        with torch.inference_mode():  # the rows are written when they are read
            rows.append(drafter._memory.notes.rows[0, :4])
    assert not torch.allclose(rows[0][:2], rows[1][:2])


def test_a_batch_drafts_what_its_rows_draft_alone(target: ToyTarget) -> None:
    rows = prompts([9, 5, 7])
    seen: dict[int, list[list[int]]] = {}
    for group in ([0, 1, 2], [0], [1], [2]):
        drafts: list[list[int]] = []

        def look(state: Any, draft: Draft, drafts: list[list[int]] = drafts) -> None:
            drafts.extend(units for units in draft.units.tolist())

        asked = request([rows[index] for index in group], max_new_tokens=2)
        run(target, Spy(FeatureDrafter(make_network(), target), look), asked, Plan(3, 3, 7))
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
    drafter = FeatureDrafter(make_network(noise=0.02), target)
    run(target, Spy(drafter, look), asked, Plan(5, stop_below=0.5))
    assert len(set(lengths)) > 1


def test_numbers_that_are_not_finite_are_reported(target: ToyTarget) -> None:
    head = make_network()
    head.down_proj.weight.fill_(float("nan"))
    asked = request(prompts([9]), max_new_tokens=10)
    with pytest.raises(RuntimeError, match="not finite"):
        run(target, FeatureDrafter(head, target), asked, Plan(3))
    with pytest.raises(RuntimeError, match="not finite"):
        run(target, FeatureDrafter(head, target), asked, Plan(3, 2, 5))


def test_requests_do_not_leak_into_one_another(target: ToyTarget) -> None:
    """Least of all the picture of the one before: ViSpec mixes it into all later text."""
    network = make_network("vispec", noise=0.02, compressor=COMPRESSORS["queries"])
    drafter = FeatureDrafter(network, target)
    first = with_pictures(target, 2, max_new_tokens=20)
    second = request(prompts([4, 6]), max_new_tokens=20)
    drafts: list[list[list[int]]] = []

    def look(state: Any, draft: Draft) -> None:
        drafts[-1].extend(draft.units.tolist())

    outputs = []
    for maker in (lambda: drafter, lambda: FeatureDrafter(network, target)):
        run(target, drafter, first, Plan(4))
        drafts.append([])
        outputs.append(run(target, Spy(maker(), look), second, Plan(3, 3, 8))[0])
    assert outputs[0] == outputs[1] == plain(target, second)
    assert drafts[0] == drafts[1]


@pytest.mark.parametrize("compressor", ["none", "queries", "elastic"])
def test_twenty_pictures_and_a_prompt_beyond_every_position(
    target: ToyTarget, compressor: str
) -> None:
    """Rotary tables grow as needed; nothing in a drafter is sized for a longest prompt."""
    network = make_network("vispec", noise=0.02, compressor=COMPRESSORS[compressor])
    shown = [[torch.randn(3, HIDDEN, generator=torch.Generator().manual_seed(1)) * 0.02] * 20, []]
    asked = Request(target.prepare(shown, ["ab" * 2100, "x"]), Sampling(max_new_tokens=6))
    got, trace = run(target, FeatureDrafter(network, target), asked, Plan(3, 2, 5))
    assert got == plain(target, asked)
    assert trace.notes == []


def test_a_picture_too_small_for_its_queries_costs_speed_only(target: ToyTarget) -> None:
    network = make_network("vispec", compressor={"kind": "queries", "num_q": 9, "heads": 4})
    asked = with_pictures(target, 2, max_new_tokens=8)
    with pytest.raises(RuntimeError, match="3 visual tokens has no place for the 8 rows"):
        run(target, FeatureDrafter(network, target), asked, Plan(3))
    engine = Engine(target, FeatureDrafter(network, target), pacer=Fixed(Plan(3)), lookahead=3)
    trace = Trace()
    rows, _ = engine.generate(asked, trace)
    assert rows == plain(target, asked)
    assert any("fewer queries" in note for note in trace.notes)
