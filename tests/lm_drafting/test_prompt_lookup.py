"""Prompt lookup: what is found, how much is copied, and that output never changes."""

from __future__ import annotations

import pytest
import torch

from lm_drafting.prompt_lookup import PromptLookup, build
from mmspec.catalog import BuildContext
from mmspec.messages import Plan
from mmspec.noise import Noise
from mmspec.state import Prompt, State
from tests.lm_drafting.toy import PICTURE, ToyTarget, plain, prompts, request, run

A, B, C, D, E = 10, 11, 12, 13, 14


def proposals(rows: list[list[int]], length: int, drafter: PromptLookup) -> list[list[int]]:
    """Valid units of every row."""
    longest = max(map(len, rows))
    tokens = torch.zeros(len(rows), longest + 8, dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
    lengths = [len(row) for row in rows]
    state = State(
        tokens=tokens,
        lengths=torch.tensor(lengths),
        host_lengths=lengths,
        cache=None,
        prompt=Prompt({}, [1] * len(rows)),
        prompt_lengths=torch.ones(len(rows), dtype=torch.long),
        finished=[False] * len(rows),
    )
    draft = drafter.draft(state, Plan(length), Noise([0] * len(rows)))
    assert draft.valid is not None
    return [units[kept].tolist() for units, kept in zip(draft.units, draft.valid, strict=True)]


@pytest.mark.parametrize(
    ("row", "length", "found"),
    [
        ([A, B, C, A, B], 3, [C, A, B]),
        ([A, B, C, A, B], 2, [C, A]),
        ([A, B, C, A, B], 9, [C, A, B]),  # copies what is there, even if it is less than asked for
        ([A, B, C, D], 3, []),
        ([A], 3, []),
        ([A, A], 3, [A]),
        ([A, B, C, D, B, C, A, B, C], 2, [D, B]),  # three words shared beat two shared later
        ([A, B, D, A, B, E, A, B], 1, [E]),  # the latest of equals
    ],
)
def test_copies_what_followed_the_longest_latest_match(
    row: list[int], length: int, found: list[int]
) -> None:
    assert proposals([row], length, PromptLookup()) == [found]


def test_earliest_match_on_request() -> None:
    row = [A, B, D, A, B, E, A, B]
    assert proposals([row], 1, PromptLookup(earliest=True)) == [[D]]


def test_short_endings_can_be_refused() -> None:
    assert proposals([[A, B, C, D, B]], 2, PromptLookup()) == [[C, D]]
    assert proposals([[A, B, C, D, B]], 2, PromptLookup(min_ngram=2)) == [[]]


def test_rows_of_a_ragged_batch_do_not_see_each_other() -> None:
    rows = [[A, B, C, A, B], [A, B], [D, E, D]]
    assert proposals(rows, 3, PromptLookup()) == [[C, A, B], [], [E, D]]


def test_placeholders_are_never_proposed() -> None:
    drafter = build(BuildContext(ToyTarget(layers=1)))  # type: ignore[arg-type]
    assert proposals([[A, B, PICTURE, C, A]], 3, drafter) == [[B]]


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="min_ngram"):
        PromptLookup(max_ngram=1, min_ngram=2)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("lengths", [[9], [9, 5, 7]])
def test_output_is_the_targets(lengths: list[int], temperature: float) -> None:
    target = ToyTarget()
    asked = request(prompts(lengths), max_new_tokens=40, temperature=temperature)
    seeds = list(range(len(lengths)))
    got, trace = run(target, PromptLookup(), asked, Plan(5), Plan(0), Plan(2), seeds=seeds)
    assert got == plain(target, asked, seeds)
    assert temperature > 0 or trace.acceptance_length > 1.2
