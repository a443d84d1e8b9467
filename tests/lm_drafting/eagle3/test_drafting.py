"""Drafts through the shared drafter: plain output, and the chances that the formulas give."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lm_drafting.eagle3 import Eagle3Network
from lm_drafting.features.drafter import FeatureDrafter
from mmspec.messages import Draft, Plan
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.lm_drafting.eagle3.doubles import DeepTarget, Reference, make_network
from tests.lm_drafting.networks import COMPRESSORS
from tests.lm_drafting.toy import HIDDEN, Spy, plain, prompts, request, run

PLANS = [
    [Plan(4)],
    [Plan(3, 3, 8)],
    [Plan(3), Plan(0), Plan(0), Plan(3, 3, 8), Plan(1), Plan(2, 4, 7)],
]


@pytest.fixture(scope="module")
def target() -> DeepTarget:
    return DeepTarget()


@pytest.mark.parametrize("plans", PLANS)
@pytest.mark.parametrize("lengths", [[9], [9, 5, 1]])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_output_is_the_targets(
    target: DeepTarget, plans: list[Plan], lengths: list[int], temperature: float
) -> None:
    """A deterministic draft leaves even sampled output as it is, token for token."""
    asked = request(prompts(lengths), max_new_tokens=30, temperature=temperature)
    seeds = list(range(len(lengths)))
    drafter = FeatureDrafter(make_network(noise=0.02, draft_vocab_size=0), target)
    got, trace = run(target, drafter, asked, *plans, seeds=seeds)
    assert got == plain(target, asked, seeds)
    assert temperature or trace.acceptance_length > 1.0


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_output_with_pictures_is_the_targets(target: DeepTarget, compressor: str) -> None:
    """Whatever a compressor reads, its rows become as wide as the network's."""
    generator = torch.Generator().manual_seed(4)
    shown = [[0.02 * torch.randn(3, HIDDEN, generator=generator)] * row for row in range(3)]
    inputs = target.prepare(shown, ["abc", "hello there", "x"])
    asked = Request(inputs, Sampling(max_new_tokens=15))
    network = make_network(noise=0.02, compressor=COMPRESSORS[compressor])
    got, _ = run(target, FeatureDrafter(network, target), asked, *PLANS[-1])
    assert got == plain(target, asked)


@pytest.mark.parametrize("plans", PLANS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_layers": (1,), "draft_vocab_size": 0},  # fc is as wide as it is high
        {"norm_output": True, "norm_before_residual": True, "fc_norm": True},
    ],
)
def test_every_node_has_the_chance_that_the_formulas_give(
    target: DeepTarget, plans: list[Plan], options: dict[str, Any]
) -> None:
    """Real features pass ``fc`` and own ones do not, after any history and along any branch."""
    network = make_network(**options)
    reference, nodes = Reference(network), 0

    def look(state: Any, draft: Draft) -> None:
        nonlocal nodes
        assert draft.confidence is not None
        for row, length in enumerate(state.host_lengths):
            if state.finished[row]:
                continue
            tokens = state.tokens[row, :length].tolist()
            embeds, features = target.read(tokens, network.config.target_layers)
            paths: list[list[int]] = []
            units, parents = draft.units[row].tolist(), draft.tree.parents[row].tolist()
            for unit, parent, chance in zip(
                units, parents, draft.confidence[row].tolist(), strict=True
            ):
                path = paths[parent] if parent >= 0 else []
                paths.append([*path, unit])
                _, law = reference.along(target, embeds, features, path)
                assert float(law[draft_id(network, unit)]) == pytest.approx(chance, abs=1e-4)
                nodes += 1

    spy: Any = Spy(FeatureDrafter(network, target), look)
    spy.target_layers = network.target_layers
    run(target, spy, request(prompts([9, 5, 1]), max_new_tokens=10), *plans)
    assert nodes > 20


def draft_id(network: Eagle3Network, token: int) -> int:
    """Place of a target's token among those the drafter knows."""
    assert bool(network.t2d[token])
    return int(network.t2d[:token].sum())
