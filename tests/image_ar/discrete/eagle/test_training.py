"""The rollout and its loss, and drafters on disk."""

from __future__ import annotations

import json

import pytest
import torch

from image_ar.discrete.eagle.storage import load, save
from image_ar.discrete.eagle.training import loss, rollout

from .models import LEAD, network


def rows(batch: int = 2, length: int = 9):
    generator = torch.Generator().manual_seed(0)
    embeds, features = torch.randn(2, batch, length, 32, generator=generator)
    return embeds, features, torch.arange(1, length + 1).unsqueeze(0)


def from_row(first: int, truth: torch.Tensor, depth: int = 2) -> torch.Tensor:
    """Rows from one on count, at every depth one row later."""
    rows = torch.arange(truth.shape[1]).expand(truth.shape[:2])
    return torch.stack([rows >= first + level for level in range(depth)])


def test_depth_zero_is_one_causal_pass() -> None:
    net, (embeds, features, places) = network(), rows()
    (out,) = rollout(net, embeds, features, places, 1)
    torch.testing.assert_close(out, net(embeds, features, places))


def test_padding_is_seen_by_itself_only() -> None:
    net, (embeds, features, places) = network(), rows()
    seen = torch.ones(embeds.shape[:2], dtype=torch.bool)
    seen[:, :3] = False
    clean = rollout(net, embeds, features, places, 3, seen)
    embeds[:, :3] += 1.0
    dirty = rollout(net, embeds, features, places, 3, seen)
    for level, (a, b) in enumerate(zip(clean, dirty, strict=True)):
        torch.testing.assert_close(a[:, 3 + level :], b[:, 3 + level :])


def test_a_perfect_rollout_costs_the_entropy_alone_and_overlaps_fully() -> None:
    truth = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(1))
    head = torch.nn.Linear(32, 5)
    total, overlap = loss([truth, truth], truth, head, from_row(2, truth), decay=0.5)
    law = head(truth).softmax(-1)
    entropy = -(law * law.log()).sum(-1)
    expected = entropy[:, 2:].mean() + 0.5 * entropy[:, 3:].mean()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(overlap, torch.ones(2))


def test_gradients_reach_every_weight() -> None:
    net, (embeds, features, places) = network().requires_grad_(True), rows()
    outs = rollout(net, embeds, features, places, 2)
    truth = torch.randn_like(embeds)
    total, _ = loss(outs, truth, torch.nn.Linear(32, 5), from_row(LEAD - 1, truth))
    total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_few_rows_at_once_give_the_same_loss_and_gradient() -> None:
    net, (embeds, features, places) = network().requires_grad_(True), rows()
    head, truth = torch.nn.Linear(32, 5).requires_grad_(False), torch.randn_like(embeds)
    found = []
    for at_once in (100, 4):
        outs = rollout(net, embeds, features, places, 2)
        total, overlap = loss(outs, truth, head, from_row(3, truth), at_once=at_once)
        found.append([total, overlap, *torch.autograd.grad(total, list(net.parameters()))])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole)


def test_a_saved_drafter_comes_back(tmp_path) -> None:
    net = network()
    save(net, tmp_path, torch.float32)
    found = load(tmp_path)
    assert found.config == net.config
    for key, value in net.state_dict().items():
        assert torch.equal(found.state_dict()[key], value)


def test_broken_folders_are_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="holds no drafter"):
        load(tmp_path / "nothing")
    save(network(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with pytest.raises(ValueError, match="does not fit its config"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "eagle"}))
    with pytest.raises(ValueError, match="names another model"):
        load(tmp_path)
