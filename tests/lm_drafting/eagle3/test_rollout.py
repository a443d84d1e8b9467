"""Training-time test: the rollout meets what decoding meets, and every weight learns from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lm_drafting.features.rotary import Rotary
from lm_drafting.training.batch import Batch, lesson
from lm_drafting.training.losses import Objective, score
from lm_drafting.training.rollout import rollout
from mmspec.messages import Features
from tests.lm_drafting.eagle3.doubles import LAYERS, DeepTarget, Reference, make_network
from tests.lm_drafting.toy import padded, prompts

DEPTH = 3


@pytest.fixture(scope="module")
def target() -> DeepTarget:
    return DeepTarget()


def teacher_forced(target: DeepTarget) -> Batch:
    """Two texts, of which the first four tokens are prompts."""
    rows = prompts([14, 11])
    inputs = padded(rows)
    filled = target.decoder.prefill(inputs, 1, Features(LAYERS))
    assert filled.hidden is not None
    assert filled.embeds is not None
    last = filled.hidden[..., : filled.embeds.shape[-1]]  # the double's first layer
    lengths = [len(row) for row in rows]
    return Batch(filled.ids, last, filled.hidden, filled.embeds, [4, 4], lengths, [[], []])


def test_rollout_equals_drafting_behind_every_prefix(target: DeepTarget) -> None:
    network, batch = make_network(norm_before_residual=True), teacher_forced(target)
    reference, taught = Reference(network), lesson(network, batch)
    rotary = Rotary(network.cache_shape[1], network.config.rope_theta)
    predicted = rollout(network, rotary, taught, DEPTH)
    assert len(predicted) == DEPTH
    for row, length in enumerate(batch.lengths):
        tokens = batch.ids[row, :length].tolist()
        embeds, features = target.read(tokens, LAYERS)
        for depth in range(DEPTH):
            slots = taught.supervised(depth)[row].nonzero().flatten().tolist()
            assert slots
            for slot in slots:
                real = slot - depth + 1  # pairs with hidden states of the target
                drafted = tokens[real + 1 : slot + 2]
                wanted, _ = reference.along(target, embeds[:, :real], features[:, :real], drafted)
                assert torch.allclose(predicted[depth][row, slot], wanted, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"fc_norm": True, "norm_before_fc": True}])
def test_every_parameter_learns_from_the_loss(target: DeepTarget, options: dict[str, Any]) -> None:
    network = make_network(qkv_bias=True, **options).requires_grad_(True)
    rotary = Rotary(network.cache_shape[1], network.config.rope_theta)
    objective = Objective(feature=0.0, decay=0.8)
    scores = score(network, rotary, target, teacher_forced(target), objective, DEPTH)
    scores.loss.backward()
    assert len(scores.agreement) == DEPTH
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().sum() > 0, name
