"""The quick way through a narrow autoencoder gives diffusers' numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm
from torch import Tensor

from adapters.wan.narrow import (
    MOST_CHANNELS,
    FlatCausalConv3d,
    SummedRMSNorm,
    hasten_narrow,
)
from adapters.wan.vae import StreamMemory, WanVae
from tests.adapters.wan.test_wan_vae import RESIDUAL, latents_of
from tests.adapters.wan.tiny_wan import random_vae


def pixels_of(stream: WanVae, latents: Tensor, sizes: tuple[int, ...]) -> Tensor:
    memory: StreamMemory | None = None
    out = []
    for block in latents.split(sizes, dim=2):
        pixels, memory = stream.decode(block, memory)
        out.append(pixels)
    assert memory is not None
    assert memory.frames == latents.shape[2]
    return torch.cat(out, dim=2)


@pytest.mark.parametrize("shape", [{}, RESIDUAL], ids=["wan21", "wan22"])
@pytest.mark.parametrize("cells", [0, 32, 1000])
@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 3, 5), (9,)])
def test_both_directions_agree_with_diffusers(
    shape: dict[str, Any], cells: int, sizes: tuple[int, ...]
) -> None:
    vae = random_vae(**shape)
    plain, quick = WanVae(vae), WanVae(hasten_narrow(copy.deepcopy(vae)), cells)
    assert any(isinstance(part, FlatCausalConv3d) for part in quick.vae.modules())
    assert not any(type(part) is WanRMS_norm for part in quick.vae.modules())
    latents = latents_of(9)
    expected = pixels_of(plain, latents, sizes)
    torch.testing.assert_close(pixels_of(quick, latents, sizes), expected, atol=2e-5, rtol=1e-4)
    pictures = expected[:, :, :9]
    there, _ = plain.encode(pictures)
    torch.testing.assert_close(quick.encode(pictures)[0], there, atol=2e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("frames", "cached"), [(1, 0), (1, 1), (1, 2), (4, 0), (4, 2), (5, 1)])
def test_a_convolution_alone(stride: int, frames: int, cached: int) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = WanCausalConv3d(5, 7, 3, stride=(stride, 1, 1), padding=1)
    quick = copy.deepcopy(plain)
    quick.__class__ = FlatCausalConv3d
    x = torch.randn(2, 5, frames, 6, 4, generator=generator)
    past = torch.randn(2, 5, cached, 6, 4, generator=generator) if cached else None
    torch.testing.assert_close(quick(x, past), plain(x, past), atol=1e-5, rtol=1e-5)
    if past is not None:  # a twin that forgets its past is caught
        assert not torch.isclose(quick(x), plain(x, past), atol=1e-3).all()


@torch.no_grad()
def test_wide_convolutions_and_half_numbers_stay_as_they_are() -> None:
    wide = torch.nn.ModuleList([WanCausalConv3d(MOST_CHANNELS + 1, 4, 3, padding=1)])
    assert type(hasten_narrow(wide)[0]) is WanCausalConv3d
    norm = WanRMS_norm(8, images=False)
    norm.gamma.copy_(torch.randn(8, 1, 1, 1, generator=torch.Generator().manual_seed(1)))
    half = torch.randn(1, 8, 2, 3, 3).bfloat16()
    expected = norm(half)
    hasten_narrow(norm)
    assert type(norm) is SummedRMSNorm
    assert torch.equal(norm(half), expected)
    zero = torch.zeros(1, 8, 1, 2, 2)
    assert torch.equal(norm(zero), zero)
