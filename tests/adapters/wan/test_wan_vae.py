"""Streams of the autoencoder equal its whole passes, and their memories are snapshots."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from adapters.wan.vae import StreamMemory, WanVae
from tests.adapters.wan.tiny_wan import CHANNELS, random_vae
from video_ar.schedule import latent_frames, pixel_frames

RESIDUAL = {
    "is_residual": True,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "decoder_base_dim": 12,
    "scale_factor_spatial": 16,
}
MEAN = [
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
]
STD = [
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
]


@pytest.fixture(scope="module", params=[{}, RESIDUAL], ids=["wan21", "wan22"])
def vae(request: pytest.FixtureRequest) -> Any:
    return random_vae(**request.param)


def latents_of(frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Sixteen pixels fill a vector register: fewer are added up in an order that depends on how
    # many frames come at once.
    return torch.randn(1, CHANNELS, frames, 4, 4, generator=generator)


def decode_blocks(vae: WanVae, latents: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    memory: StreamMemory | None = None
    out = []
    for block in latents.split(sizes, dim=2):
        pixels, memory = vae.decode(block, memory)
        out.append(pixels)
    return out


@torch.no_grad()
@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 3, 5), (9,), (1,) * 9])
def test_decoding_by_blocks_is_decoding_at_once(vae: Any, sizes: tuple[int, ...]) -> None:
    latents, stream = latents_of(9), WanVae(vae)
    whole = vae.decode(stream.denormalise(latents)).sample
    parts = decode_blocks(stream, latents, sizes)
    assert torch.equal(torch.cat(parts, dim=2), whole)
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    expected = [pixel_frames(size, start) for size, start in zip(sizes, starts, strict=True)]
    assert [part.shape[2] for part in parts] == expected


def test_a_decoder_without_memory_differs(vae: Any) -> None:
    """The twin that must fail: each block decoded as if it were the first."""
    latents, stream = latents_of(6), WanVae(vae)
    right = torch.cat(decode_blocks(stream, latents, (3, 3)), dim=2)
    wrong = stream.decode(latents[:, :, 3:])[0]
    assert not torch.isclose(right[:, :, -4:], wrong[:, :, -4:], atol=1e-4).all()


def test_a_rejected_block_leaves_no_trace(vae: Any) -> None:
    latents, drafts, stream = latents_of(9), latents_of(9, seed=1), WanVae(vae)
    right = decode_blocks(stream, latents, (3, 3, 3))
    memory: StreamMemory | None = None
    for index, block in enumerate(latents.split(3, dim=2)):
        stream.decode(drafts[:, :, 3 * index : 3 * index + 3], memory)
        pixels, memory = stream.decode(block, memory)
        assert torch.equal(pixels, right[index])


def test_two_streams_and_diffusers_share_one_module(vae: Any) -> None:
    first, second, stream = latents_of(6), latents_of(6, seed=1), WanVae(vae)
    right = [decode_blocks(stream, latents, (3, 3)) for latents in (first, second)]
    memories: list[StreamMemory | None] = [None, None]
    for block in range(2):
        for row, latents in enumerate((first, second)):
            part = latents[:, :, 3 * block : 3 * block + 3]
            pixels, memories[row] = stream.decode(part, memories[row])
            assert torch.equal(pixels, right[row][block])
            vae.decode(latents)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [(1, 8, 8), (9, 4, 4), (17,)])
def test_encoding_by_blocks_is_encoding_at_once(vae: Any, sizes: tuple[int, ...]) -> None:
    stream, generator = WanVae(vae), torch.Generator().manual_seed(3)
    pixels = torch.rand(1, 3, 17, 64, 64, generator=generator) * 2 - 1
    whole = stream.normalise(vae.encode(pixels).latent_dist.mode())
    memory: StreamMemory | None = None
    parts = []
    for block in pixels.split(sizes, dim=2):
        latents, memory = stream.encode(block, memory)
        parts.append(latents)
    assert torch.equal(torch.cat(parts, dim=2), whole)
    assert memory is not None
    assert memory.frames == whole.shape[2] == latent_frames(17)


def test_21_latent_frames_are_81_pictures() -> None:
    stream = WanVae(random_vae())
    latents = latents_of(21)[..., :2, :2]
    assert [part.shape[2] for part in decode_blocks(stream, latents, (3,) * 7)] == [9] + [12] * 6
    pixels = torch.zeros(1, 3, 81, 16, 16)
    assert stream.encode(pixels)[0].shape[2] == 21


def test_the_released_scale_of_latents() -> None:
    """Of the autoencoder all these models share; a tiny one takes its own from its config."""
    stream = WanVae(AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1))
    latents = torch.randn(1, 16, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(1, 16, 1, 1, 1) for values in (MEAN, STD))
    torch.testing.assert_close(stream.normalise(latents), (latents - mean) / std)
    torch.testing.assert_close(stream.denormalise(stream.normalise(latents)), latents)


def test_user_errors_say_what_to_do() -> None:
    vae = random_vae()
    stream = WanVae(vae)
    with pytest.raises(ValueError, match="4 pictures leave a rest: give 1"):
        stream.encode(torch.zeros(1, 3, 4, 16, 16))
    _, memory = stream.encode(torch.zeros(1, 3, 1, 16, 16))
    with pytest.raises(ValueError, match="5 pictures leave a rest: give 0"):
        stream.encode(torch.zeros(1, 3, 5, 16, 16), memory)
    vae.enable_tiling()
    with pytest.raises(ValueError, match="disable tiling"):
        WanVae(vae)
