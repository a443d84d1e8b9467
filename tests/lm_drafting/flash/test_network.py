"""The network against the paper's formulas; names, causality, and what training compares."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lm_drafting.features.rotary import Rotary
from lm_drafting.features.slots import Slots, causal
from lm_drafting.flash import FlashConfig, FlashNetwork
from lm_drafting.training.batch import Batch, lesson
from lm_drafting.training.rollout import rollout
from tests.lm_drafting.flash.networks import COMPRESSOR, HEADS, K, make_flash, slow_heads
from tests.lm_drafting.networks import run_network
from tests.lm_drafting.toy import HIDDEN, VOCAB

SHAPES: list[dict[str, Any]] = [
    {"num_key_value_heads": 2},
    {"num_key_value_heads": 4},
    {"num_key_value_heads": 2, "official": True},
    {"num_key_value_heads": 3, "official": True, "head_dim": 6, "k": 2},
]


def random_rows(batch: int, length: int) -> Tensor:
    return torch.randn(batch, length, HIDDEN, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", SHAPES)
def test_equals_the_formulas(options: dict[str, Any]) -> None:
    network, rows = make_flash(**options), random_rows(2, 6)
    positions = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 5, 6, 7, 8]])  # a picture was shortened
    found = run_network(network, rows, positions)[0].unflatten(-1, (network.steps, -1))
    for row in range(2):
        wanted = slow_heads(network, rows[row], positions[row])
        assert torch.allclose(found[row].double(), wanted, atol=1e-5)


def test_summing_over_groups_is_not_sharing_them() -> None:
    plain, official = (make_flash(num_key_value_heads=2, official=flag) for flag in (False, True))
    official.load_state_dict(plain.state_dict())
    rows, positions = random_rows(1, 5), torch.arange(5).unsqueeze(0)
    outs = [run_network(network, rows, positions)[0] for network in (plain, official)]
    assert not torch.allclose(outs[0], outs[1], atol=1e-2)


@pytest.mark.parametrize("options", SHAPES)
def test_cached_passes_equal_one_full_pass(options: dict[str, Any]) -> None:
    """Blocks of unequal size, then a batch whose rows have unequal lengths."""
    network, rows = make_flash(**options), random_rows(2, 9)
    rotary = Rotary(network.config.head_dim, network.config.rope_theta)
    wanted = run_network(network, rows, torch.arange(9).expand(2, -1))[0]
    slots = Slots((2, *network.cache_shape), rows)
    slots.reserve(12)

    def block(first: int, end: int) -> Tensor:
        mask = causal(first, end - first, end, rows)
        return network(
            rows[:, first:end], rotary.between(first, end, rows), slots.attend(first, end, mask)
        )

    found = torch.cat([block(0, 4), block(4, 5), block(5, 7)], 1)
    assert torch.allclose(found, wanted[:, :7], atol=1e-5)
    starts = torch.tensor([7, 5])  # the second text was only five rows long
    places = starts.unsqueeze(1) + torch.arange(2)
    batch = torch.arange(2).unsqueeze(1)
    attend = slots.attend(starts, 9, causal(starts, 2, 9, rows))
    late = network(rows[batch, places], rotary.at(places, 9, rows), attend)
    assert torch.allclose(late, wanted[batch, places], atol=1e-5)


@pytest.mark.parametrize("official", [False, True])
def test_no_head_sees_a_later_token(official: bool) -> None:
    """A pair's token changes the outputs from its own row on, in every head, and none before."""
    network = make_flash(official=official)
    generator = torch.Generator().manual_seed(2)
    embeds, features, other = (torch.randn(1, 7, HIDDEN, generator=generator) for _ in range(3))
    changed = embeds.clone()
    changed[:, 3] = other[:, 3]
    positions = torch.arange(7).unsqueeze(0)
    before, after = (
        run_network(network, network.fuse(tokens, features), positions)[0].view(7, K, HIDDEN)
        for tokens in (embeds, changed)
    )
    assert torch.equal(before[:3], after[:3])
    assert ((before - after).abs().amax(-1) > 1e-4)[3:].all()


def test_state_dict_has_the_official_names() -> None:
    """``llama_sar.py``, without the target's embedding table and the rotary frequencies."""
    shapes = {f"layers.{name}_proj.weight": (HIDDEN, HIDDEN) for name in "qo"}
    shapes |= {f"layers.{name}_proj.weight": (2 * 8, HIDDEN) for name in "kv"}
    shapes |= {
        "fc.weight": (HIDDEN, 2 * HIDDEN),
        "layers.ar_proj.0.weight": (4 * HIDDEN, HIDDEN),
        "layers.ar_proj.2.weight": (K * HIDDEN, 4 * HIDDEN),
    }
    shapes |= {name.replace("weight", "bias"): (shape[0],) for name, shape in list(shapes.items())}
    network = make_flash(num_key_value_heads=2)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes
    compressed = make_flash(num_key_value_heads=2, compressor=COMPRESSOR)
    assert compressed.state_dict().keys() - shapes.keys() == {"compressor.queries"}


def test_defaults_are_the_papers() -> None:
    config = FlashConfig(hidden_size=128, vocab_size=100, num_attention_heads=8)
    assert (config.k, config.num_key_value_heads, config.head_dim) == (5, 4, 16)
    assert (config.intermediate_size, config.rope_theta) == (512, 10000.0)
    network = FlashNetwork(config)
    assert network.steps == 5
    assert network.compressor is not None
    assert network.compressor.spec() == {"kind": "latent", "tokens": 64}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_key_value_heads": 3}, "4 query heads"),
        ({"head_dim": 7}, "width even"),
        ({"k": 0}, "k=0"),
    ],
)
def test_impossible_shapes_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FlashConfig(HIDDEN, VOCAB, HEADS, **options)


def test_start_values_follow_the_generator() -> None:
    drawn = []
    for seed in (0, 0, 1):
        network = FlashNetwork(FlashConfig(HIDDEN, VOCAB, HEADS, compressor=COMPRESSOR))
        network.reset_parameters(torch.Generator().manual_seed(seed))
        drawn.append(network.state_dict())
    for name, value in drawn[0].items():
        assert torch.equal(value, drawn[1][name])
        assert torch.equal(value, drawn[2][name]) == name.endswith("bias")
    wide = drawn[0]["layers.ar_proj.2.weight"]
    assert wide.std() == pytest.approx((4 * HIDDEN) ** -0.5, rel=0.05)


class Numbered(FlashNetwork):
    """Head ``i`` says ``k * j + i + 1`` at position ``j``."""

    def forward(self, rows: Tensor, *_: Any) -> Tensor:
        numbers = torch.arange(1.0, rows.shape[1] * self.steps + 1)
        return numbers.repeat_interleave(rows.shape[2]).view(1, rows.shape[1], -1)


def test_training_compares_heads_where_they_speak_of_the_same_token() -> None:
    """The official ``rearrange_block_diag`` on four positions and three heads."""
    network = Numbered(FlashConfig(HIDDEN, VOCAB, HEADS, k=3, compressor=None))
    hidden = random_rows(1, 5)
    batch = Batch(torch.zeros(1, 5).long(), hidden, hidden, hidden, [1], [5], [[]])
    depths = rollout(network, Rotary(8, 10000.0), lesson(network, batch), depth=5)
    assert [int(value) for depth in depths for value in depth[0, :, 0]] == [
        *(1, 4, 7, 10),
        *(0, 2, 5, 8),
        *(0, 0, 3, 6),
    ]


def test_every_head_learns() -> None:
    """Gradients of head ``i`` reach its own part of the last projection alone."""
    network = make_flash().requires_grad_(True)
    hidden = random_rows(1, 8)
    batch = Batch(torch.zeros(1, 8).long(), hidden, hidden, hidden, [1], [8], [[]])
    rotary = Rotary(network.config.head_dim, network.config.rope_theta)
    rollout(network, rotary, lesson(network, batch), depth=K)[2].square().sum().backward()
    gradient = network.get_parameter("layers.ar_proj.2.bias").grad
    assert gradient is not None
    assert (gradient.view(K, HIDDEN).abs().sum(1) > 0).tolist() == [n == 2 for n in range(K)]
