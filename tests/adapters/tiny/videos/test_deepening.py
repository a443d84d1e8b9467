"""A deeper transformer starts as the shallower one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adapters.tiny.videos.deepening import deepen
from tests.adapters.wan.tiny_wan import CHANNELS, TEXT_WIDTH, random_wan


def velocity(model: torch.nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    block = torch.randn(2, CHANNELS, 3, 4, 4, generator=generator)
    text = torch.randn(2, 5, TEXT_WIDTH, generator=generator)
    times = torch.tensor([900.0, 250.0])
    out: Tensor = model(
        hidden_states=block, timestep=times, encoder_hidden_states=text, return_dict=False
    )[0]
    return out


@torch.no_grad()
@pytest.mark.parametrize("layers", [2, 3, 5])
def test_both_compute_the_same_until_training_goes_on(layers: int) -> None:
    shallow, deep = random_wan(num_layers=2), random_wan(num_layers=layers, seed=1)
    assert not torch.allclose(velocity(deep), velocity(shallow), atol=1e-2)
    deepen(deep, shallow)
    torch.testing.assert_close(velocity(deep), velocity(shallow))
    silent = [bool((block.ffn.net[2].weight == 0).all()) for block in deep.blocks]
    assert sum(silent) == layers - 2
    assert not silent[0]


def test_every_new_layer_learns_at_once() -> None:
    deep = random_wan(num_layers=3, seed=1).requires_grad_(True)
    deepen(deep, random_wan(num_layers=2))
    velocity(deep).square().mean().backward()
    for block in deep.blocks:
        assert block.ffn.net[2].weight.grad.abs().sum() > 0


def test_a_model_does_not_grow_downwards() -> None:
    with pytest.raises(ValueError, match="a model of 2 layers cannot grow from one of 3"):
        deepen(random_wan(num_layers=2), random_wan(num_layers=3))
