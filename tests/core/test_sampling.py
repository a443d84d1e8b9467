"""Laws from logits: equal to transformers' processors, every node with its own prefix."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from mmspec.messages import Draft
from mmspec.sampling import Sampler, Sampling, warp, warpers_of
from mmspec.state import State
from mmspec.token_target import TokenTarget
from mmspec.trees import Tree
from tests.core.test_trees import random_tree
from tests.core.toy import MarkovDecoder, random_laws, request

VOCAB = 23
OPTIONS = [
    {"temperature": 0.7},
    {"temperature": 1.0, "top_k": 5},
    {"temperature": 1.0, "top_k": VOCAB + 5},
    {"temperature": 1.3, "top_p": 0.8},
    {"temperature": 1.0, "top_p": 0.05},
    {"temperature": 1.0, "min_p": 0.2},
    {"temperature": 0.6, "top_k": 9, "top_p": 0.9, "min_p": 0.05},
]


def logits_of(rows: int, seed: int, ties: bool) -> torch.Tensor:
    scores = torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 2
    return scores.round() if ties else scores


def theirs(options: dict[str, float]) -> LogitsProcessorList:
    """In the order in which transformers' ``generate`` builds them."""
    chosen = LogitsProcessorList([TemperatureLogitsWarper(float(options["temperature"]))])
    if "top_k" in options:
        chosen.append(TopKLogitsWarper(top_k=int(options["top_k"])))
    if "top_p" in options:
        chosen.append(TopPLogitsWarper(top_p=options["top_p"]))
    if "min_p" in options:
        chosen.append(MinPLogitsWarper(min_p=options["min_p"]))
    return chosen


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_warping_equals_transformers(options: dict[str, float], ties: bool) -> None:
    scores = logits_of(200, 5, ties)
    ids = torch.zeros(200, 1, dtype=torch.long)
    expected = theirs(options)(ids, scores.clone()).softmax(-1)
    found = warp(scores, Sampling(**options))  # type: ignore[arg-type]
    assert torch.equal(found > 0, expected > 0)
    assert torch.allclose(found, expected, atol=1e-6)


def test_options_survive_the_way_back_from_a_processor_list() -> None:
    options = OPTIONS[-1]
    extra = NoRepeatNGramLogitsProcessor(2)
    found, rest = warpers_of([*theirs(options), extra])
    assert found == options
    assert rest == (extra,)


def state_of(prefixes: list[list[int]]) -> State:
    table = random_laws(VOCAB, VOCAB, 1)
    state, _ = TokenTarget(MarkovDecoder(table)).prefill(request(prefixes, temperature=1))
    return state


def whole_prefix(state: State, draft: Draft, row: int, node: int) -> list[int]:
    committed = state.tokens[row, : state.host_lengths[row]].tolist()
    if node == 0:
        return committed
    inside = draft.tree.ancestors[row, node, 1:].nonzero().flatten()
    return committed + draft.units[row, inside].tolist()


PREFIXED = [
    Sampling(temperature=1, repetition_penalty=1.7),
    Sampling(temperature=1, bad_words_ids=((3,), (4, 5), (1, 2, 3))),
    Sampling(temperature=1, processors=(NoRepeatNGramLogitsProcessor(2),)),
    Sampling(
        temperature=0.9,
        top_k=7,
        repetition_penalty=1.3,
        bad_words_ids=((4, 5),),
        processors=(lambda ids, scores: scores + ids.shape[1] * torch.arange(VOCAB) % 3,),
    ),
]


def separately(sampling: Sampling) -> LogitsProcessorList:
    chosen = LogitsProcessorList()
    if sampling.repetition_penalty != 1:
        chosen.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.bad_words_ids:
        words = [list(word) for word in sampling.bad_words_ids]
        chosen.append(NoBadWordsLogitsProcessor(words, eos_token_id=None))
    chosen.extend(sampling.processors)
    return chosen


@pytest.mark.parametrize("shape", ["chain", "tree", "shared tree", "none"])
@pytest.mark.parametrize("sampling", PREFIXED, ids=["repetition", "bad words", "n-gram", "all"])
def test_every_node_is_processed_with_its_own_prefix(sampling: Sampling, shape: str) -> None:
    prefixes = [[1, 2, 3, 4], [4], [5, 4, 4, 1, 2, 9]]
    state = state_of(prefixes)
    trees = {
        "chain": Tree.chain(3, 4),
        "tree": random_tree(6, 3, 2),
        "shared tree": Tree.static([[0], [1], [0, 0], [1, 0], [1, 0, 0]], batch=3),
        "none": Tree.chain(3, 0),
    }
    tree = trees[shape]
    generator = torch.Generator().manual_seed(3)
    draft = Draft(torch.randint(6, (3, tree.nodes), generator=generator), tree)
    logits = torch.randn(3, tree.nodes + 1, VOCAB, generator=generator)
    before = logits.clone()
    found = Sampler(sampling).law(logits, tree.depths, state, draft).probs  # type: ignore[attr-defined]
    assert torch.equal(logits, before)
    for row in range(3):
        for node in range(tree.nodes + 1):
            prefix = torch.tensor([whole_prefix(state, draft, row, node)])
            scores = separately(sampling)(prefix, logits[row, node : node + 1].clone())
            assert torch.allclose(found[row, node], warp(scores, sampling)[0], atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_forced_ids_hold_at_their_position_whatever_forbids_them(temperature: float) -> None:
    sampling = Sampling(
        temperature=temperature, forced_ids=((0, 5), (2, 6)), bad_words_ids=((5,), (6,))
    )
    state = state_of([[1, 2]])
    tree = Tree.chain(1, 3)
    draft = Draft(torch.tensor([[5, 1, 6]]), tree)
    law = Sampler(sampling).law(torch.randn(1, 4, VOCAB), tree.depths, state, draft)
    drawn = law.draw(torch.full((1, 4), 0.99))
    assert drawn[0, 0] == 5
    assert drawn[0, 2] == 6
    assert law.probability(torch.tensor([[0, 2]]), torch.tensor([[5, 6]])).tolist() == [[1, 1]]


def test_greedy_keeps_the_first_of_a_tie() -> None:
    state = state_of([[1]])
    logits = torch.zeros(1, 1, VOCAB)
    logits[..., 3] = logits[..., 8] = 2.0
    law = Sampler(Sampling()).law(logits, torch.zeros(1, 1), state, Draft.empty(1))
    assert law.draw().tolist() == [[3]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"temperature": -1}, r"temperature must be 0 \(greedy\) or above, got -1"),
        ({"temperature": float("nan")}, "temperature must be 0"),
        ({"temperature": float("inf")}, "temperature must be 0"),
        ({"top_k": -1}, r"top_k must be 0 \(off\) or above"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1"),
        ({"min_p": 2}, "min_p must be between 0 and 1"),
        ({"repetition_penalty": 0}, r"repetition_penalty must be above 0 \(1 is off\)"),
    ],
)
def test_wrong_options_name_the_fix(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**options)  # type: ignore[arg-type]
