"""A model as drafter: greedy equality, perfect twins, text-only drafters, pauses, vocabularies."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lm_drafting.branching import Branching
from lm_drafting.draft_model import DraftModel, build
from mmspec.catalog import BuildContext
from mmspec.messages import Plan
from mmspec.token_target import TokenTarget
from tests.core.toy import MarkovDecoder, laws
from tests.core.toy import request as markov_request
from tests.lm_drafting.toy import Spy, ToyTarget, plain, prompts, request, run

PLANS = [
    [Plan(4)],
    [Plan(3, 2, 12)],
    [Plan(3, stop_below=0.3)],
    [Plan(4), Plan(0), Plan(0), Plan(2, 3, 6), Plan(1), Plan(0), Plan(3)],
]


@pytest.fixture(scope="module")
def target() -> ToyTarget:
    return ToyTarget()


@pytest.fixture(scope="module")
def small() -> ToyTarget:
    """A drafter that agrees sometimes: the target's own first two layers."""
    cut = ToyTarget()
    cut.model.model.layers = cut.model.model.layers[:2]
    cut.model.config.num_hidden_layers = 2
    return cut


@pytest.mark.parametrize("plans", PLANS)
@pytest.mark.parametrize("lengths", [[9], [9, 5, 2]])
def test_greedy_output_is_the_targets(
    target: ToyTarget, small: ToyTarget, plans: list[Plan], lengths: list[int]
) -> None:
    asked = request(prompts(lengths), max_new_tokens=40, stop_ids=(7,))
    got, trace = run(target, DraftModel(small, target), asked, *plans)
    assert got == plain(target, asked)
    assert trace.acceptance_length > 1.1


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"temperature": 0.7, "top_k": 3}])
@pytest.mark.parametrize("plan", [Plan(3), Plan(3, 2, 6)])
@pytest.mark.parametrize("lengths", [[9], [9, 5, 7]])
def test_identical_twin_is_accepted_throughout(
    target: ToyTarget, plan: Plan, options: dict[str, Any], lengths: list[int]
) -> None:
    asked = request(prompts(lengths), max_new_tokens=41, **options)
    _, trace = run(target, DraftModel(ToyTarget(), target), asked, plan, seeds=range(len(lengths)))
    assert trace.acceptance_by_position == [1.0] * 3


def test_processors_shape_the_drafters_law_too(target: ToyTarget) -> None:
    options = {"temperature": 1.0, "repetition_penalty": 1.7, "bad_words_ids": ((5,),)}
    asked = request(prompts([9]), max_new_tokens=31, **options)
    _, trace = run(target, DraftModel(target, target), asked, Plan(2), seeds=[3])
    assert trace.acceptance_by_position == [1.0] * 2


@pytest.mark.parametrize("plans", PLANS)
@pytest.mark.parametrize("lengths", [[9], [9, 5, 7]])
def test_own_cache_equals_a_fresh_run_after_any_history(
    target: ToyTarget, small: ToyTarget, plans: list[Plan], lengths: list[int]
) -> None:
    """Keys and values of committed tokens, row by row, against one pass over the prefix."""
    drafter = DraftModel(small, target)
    checked = 0

    def look(state: Any, draft: Any) -> None:
        nonlocal checked
        assert drafter._memory is not None
        own = drafter._memory.own
        for row, length in enumerate(state.host_lengths):
            if state.finished[row]:
                continue
            tokens = state.tokens[row : row + 1, :length]
            fresh = small.model.model(input_ids=tokens, use_cache=True).past_key_values
            for layer in range(2):
                mine = own.cache._buffer[layer, :, row, :, :length]
                pair = torch.stack([fresh.layers[layer].keys[0], fresh.layers[layer].values[0]])
                assert torch.allclose(mine, pair, atol=1e-5)
            checked += 1

    asked = request(prompts(lengths), max_new_tokens=30)
    run(target, Spy(drafter, look), asked, *plans)
    assert checked > 5


def test_text_only_drafter_reads_the_prompt_without_pictures(target: ToyTarget) -> None:
    """Its own state holds the words alone, at consecutive positions of its own."""
    text = ToyTarget(seed=1)
    text.image_token_ids = ()
    shown = [[torch.ones(3, 32)], [], [torch.ones(3, 32), -torch.ones(3, 32)]]
    inputs = target.prepare(shown, ["hello", "on", "three"])
    asked = request([[1]], max_new_tokens=20)
    asked = type(asked)(inputs, asked.sampling)
    drafter = DraftModel(text, target)
    seen: list[list[list[int]]] = []

    def look(state: Any, draft: Any) -> None:
        assert drafter._memory is not None
        own = drafter._memory.own
        seen.append([row[:n].tolist() for row, n in zip(own.tokens, own.lengths - 3, strict=True)])
        for row, n in enumerate(state.host_lengths):
            words = [token for token in state.tokens[row, :n].tolist() if token != 49]
            if not state.finished[row]:
                assert seen[-1][row] == words

    got, _ = run(target, Spy(drafter, look), asked, Plan(4), Plan(0))
    assert got == plain(target, asked)
    assert len(seen) > 3


def test_drafter_with_pictures_gets_the_same_pixels(target: ToyTarget) -> None:
    inputs = target.prepare([[torch.ones(3, 32)]], ["hello"])
    asked = type(request([[1]]))(inputs, request([[1]], max_new_tokens=21).sampling)
    _, trace = run(target, DraftModel(ToyTarget(), target), asked, Plan(3))
    assert trace.acceptance_by_position == [1.0] * 3


def test_vocabularies_must_match(target: ToyTarget) -> None:
    other = ToyTarget(vocab=60)
    with pytest.raises(ValueError, match=r"60 .* 50"):
        DraftModel(other, target)
    with pytest.raises(ValueError, match="at most 50"):
        DraftModel(other, target, vocab_size=55)


@pytest.mark.parametrize("sizes", [(60, 50), (50, 60)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_padded_vocabularies_share_their_common_part(
    sizes: tuple[int, int], temperature: float
) -> None:
    target, drafter = ToyTarget(vocab=sizes[1]), ToyTarget(vocab=sizes[0])
    asked = request(prompts([9, 4]), max_new_tokens=20, temperature=temperature)
    highest = 0

    def look(state: Any, draft: Any) -> None:
        nonlocal highest
        highest = max(highest, int(draft.units.max()))

    model = DraftModel(drafter, target, vocab_size=40)
    got, _ = run(target, Spy(model, look), asked, Plan(4), Plan(2, 2, 4), seeds=[0, 1])
    assert highest < 40
    if temperature == 0:
        assert got == plain(target, asked)


@pytest.mark.parametrize(
    ("plan", "widths"),
    [
        (Plan(4, 2, 12), (2, 1, 2, 1)),
        (Plan(4, 2, 14), (2, 2, 1, 1)),
        (Plan(3, 3), (3, 1, 1)),
        (Plan(2, 5, 4), (2, 1)),
        (Plan(5, 2, 3), (1, 1, 1)),
    ],
)
def test_trees_branch_near_the_root_within_the_budget(plan: Plan, widths: tuple[int, ...]) -> None:
    assert Branching.fit(plan).widths == widths


def test_siblings_beyond_the_support_are_invalid() -> None:
    """A law with two tokens has no third sibling; its node must not be tried."""
    table = laws((0.5, 0.5, 0, 0), (0.5, 0.5, 0, 0), (0.25,) * 4, (0.25,) * 4)
    target = TokenTarget(MarkovDecoder(laws(*[(0.25,) * 4] * 4)))
    invalid = 0

    def look(state: Any, draft: Any) -> None:
        nonlocal invalid
        siblings = draft.units[0][draft.tree.parents[0] == -1][:2]
        assert sorted(siblings.tolist()) == [0, 1] or state.tokens[0, state.host_lengths[0] - 1] > 1
        invalid += int((~draft.valid).sum())

    drafter = DraftModel(TokenTarget(MarkovDecoder(table)), target)
    asked = markov_request([[0]], max_new_tokens=30, temperature=1.0)
    run(target, Spy(drafter, look), asked, Plan(2, 3, 6), seeds=[5])
    assert invalid > 0


def test_build_asks_for_a_drafter_and_loads_one_by_name(target: ToyTarget) -> None:
    with pytest.raises(ValueError, match="needs a drafter"):
        build(BuildContext(target))
    built = build(BuildContext(target, "folder", load_target=lambda name: ToyTarget(seed=2)))
    assert built.name == "draft-model"
