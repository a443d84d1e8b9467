"""Hidden states a drafter asks for: which layers, of which positions, and who decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmspec.engine import Engine
from mmspec.messages import Features, Plan
from mmspec.pacing import Fixed
from mmspec.token_target import Request, TokenTarget
from tests.core.toy import AttentionDecoder, request
from tests.drafters import Bush

PROMPTS = [[1, 2, 3], [4], [0, 1]]
BUSH = Plan(length=4, width=3, budget=9)
DECODER = AttentionDecoder()
TARGET = TokenTarget(DECODER)
ASKED = request(PROMPTS, max_new_tokens=21)
OUTPUTS, _ = Engine(TARGET).generate(ASKED)


class Reader(Bush):
    """Drafts random trees and gathers the hidden states of every committed position."""

    needs_features = True

    def __init__(self, **attributes: Any) -> None:
        super().__init__(OUTPUTS, DECODER.vocab_size)
        self.__dict__.update(attributes)

    def reset(self) -> None:
        self.read: list[list[Tensor]] = []

    def observe(self, state: Any, draft: Any, evidence: Any, verdict: Any, commit: Any) -> None:
        if not self.read:
            pairs = zip(state.prompt.hidden, state.prompt.lengths, strict=True)
            self.read = [list(hidden[:length]) for hidden, length in pairs]
            return
        for row, units in enumerate(commit.units):
            nodes = [0, *(verdict.path[row] + 1).tolist()]
            self.read[row] += list(evidence.hidden[row, nodes[: len(units)]])


def read_by(drafter: Reader, asked: Request = ASKED) -> list[Tensor]:
    """What the drafter was shown of every row, ``(positions, width)``."""
    engine = Engine(TARGET, drafter, pacer=Fixed(BUSH), lookahead=BUSH.nodes, strict=True)
    outputs, trace = engine.generate(asked)
    assert outputs == OUTPUTS
    assert trace.metrics.acceptance_length > 1.5
    return [torch.stack(row) for row in drafter.read]


def entered(layers: Sequence[int]) -> list[Tensor]:
    """The same of one pass over prompt and output; the last token is not run when a text ends."""
    rows = []
    for prompt, output in zip(PROMPTS, OUTPUTS, strict=True):
        DECODER.prefill(request([[*prompt, *output[:-1]]]).inputs, 1, None)
        rows.append(torch.cat([DECODER.entered[layer] for layer in layers], dim=-1)[0])
    return rows


@pytest.mark.parametrize(
    ("attributes", "layers"),
    [
        ({}, [2]),
        ({"target_layers": None}, [2]),
        ({"target_layers": (1,)}, [1]),
        ({"target_layers": (0, 2)}, [0, 2]),
        ({"target_layers": (0, 1, 2)}, [0, 1, 2]),
    ],
)
def test_a_drafter_reads_the_layers_it_names_at_every_committed_position(
    attributes: dict[str, Any], layers: list[int]
) -> None:
    torch.testing.assert_close(read_by(Reader(**attributes)), entered(layers))


def test_a_drafters_layers_stand_above_the_requests() -> None:
    asked = replace(ASKED, features=Features((0,)))
    torch.testing.assert_close(read_by(Reader(target_layers=(1, 2)), asked), entered([1, 2]))


@pytest.mark.parametrize(
    ("features", "width"),
    [(False, None), (True, 1), (Features(), 1), (Features((0,)), 1), (Features((0, 1, 2)), 3)],
)
def test_a_request_says_what_prefill_keeps(features: Features | bool, width: int | None) -> None:
    state, evidence = TARGET.prefill(replace(ASKED, features=features))
    if width is None:
        assert state.prompt.hidden is None
        assert evidence.hidden is None
        return
    assert state.prompt.hidden.shape == (3, 3, width * DECODER.hidden_size)
    last = state.prompt.hidden[torch.arange(3), state.prompt_lengths - 1]
    assert torch.equal(evidence.hidden, last.unsqueeze(1))


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1), (0, 2, 1)])
def test_layers_ascend_and_differ(layers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"layers must be ascending and differ, got \("):
        Features(layers)


@pytest.mark.parametrize("layers", [(0, 3), (-1, 2), (7,)])
def test_layers_the_target_lacks_are_refused_before_it_runs(layers: tuple[int, ...]) -> None:
    DECODER.entered = []
    with pytest.raises(ValueError, match=r"has 2 layers, give 0 to 2"):
        Engine(TARGET, Reader(target_layers=layers)).generate(ASKED)
    assert not DECODER.entered
