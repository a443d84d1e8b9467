"""The autoencoder: official names and shapes, its mathematics written twice, vectors of patches."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from adapters.mar.vae import LatentVAE, patchify, unpatchify
from adapters.mar.vae_keys import from_official, official_names, to_official
from tests.adapters.mar import naive_vae
from tests.adapters.mar.tiny_mar import random_vae

LEVELS, GROUPS = 3, 4


def official_list() -> set[str]:
    """Every name of the official file, made from the description of the network."""
    modules = ["quant_conv", "post_quant_conv"]
    for side, changes in (("encoder", "down"), ("decoder", "up")):
        modules += [f"{side}.{name}" for name in ("conv_in", "norm_out", "conv_out")]
        modules += [f"{side}.mid.attn_1.{n}" for n in ("norm", "q", "k", "v", "proj_out")]
        blocks = [f"{side}.mid.block_1", f"{side}.mid.block_2"]
        per_level = 2 if side == "encoder" else 3
        blocks += [
            f"{side}.{changes}.{i}.block.{j}" for i, j in product(range(5), range(per_level))
        ]
        modules += [f"{b}.{n}" for b in blocks for n in ("norm1", "conv1", "norm2", "conv2")]
        steps = range(4) if side == "encoder" else range(1, 5)
        modules += [f"{side}.{changes}.{i}.{changes}sample.conv" for i in steps]
    modules += [
        f"encoder.down.4.attn.{i}.{n}"
        for i, n in product(range(2), ("norm", "q", "k", "v", "proj_out"))
    ]
    # Widths change where multipliers 1, 1, 2, 2, 4 do, on the way down and up.
    widening = ("encoder.down.2", "encoder.down.4", "decoder.up.3", "decoder.up.1")
    modules += [f"{level}.block.0.nin_shortcut" for level in widening]
    return {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}


def test_the_official_file() -> None:
    with torch.device("meta"):
        vae = LatentVAE.kl_16()
    weights = vae.model.state_dict()
    assert set(official_names(weights).values()) == official_list()
    assert len(weights) == 312
    assert sum(value.numel() for value in weights.values()) / 1e6 == pytest.approx(66.46, abs=0.005)
    assert (vae.scale, vae.stride, vae.token_width) == (0.2325, 16, 16)
    assert LatentVAE(vae.model, 2).stride == 32
    theirs = to_official(weights)
    shapes = {name: tuple(value.shape) for name, value in theirs.items()}
    assert shapes["encoder.down.4.attn.1.q.weight"] == (512, 512, 1, 1)
    assert shapes["encoder.down.4.attn.1.norm.weight"] == (512,)
    assert shapes["quant_conv.weight"] == (32, 32, 1, 1)
    assert shapes["decoder.up.4.block.0.conv1.weight"] == (512, 512, 3, 3)
    assert shapes["decoder.up.0.block.2.conv2.weight"] == (128, 128, 3, 3)


def test_names_and_shapes_there_and_back() -> None:
    weights = random_vae().model.state_dict()
    back = from_official(to_official(weights), weights)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], value) for name, value in weights.items())
    assert from_official({"extra": torch.ones(1)}, weights) == {"extra": torch.ones(1)}


def test_encoding_and_decoding_equal_the_official_network() -> None:
    vae = random_vae()
    w = {name: value.double() for name, value in to_official(vae.model.state_dict()).items()}
    pixels = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mean, std = vae.posterior(pixels)
    assert mean.shape == (2, 6 * 4, 4)
    for found, latents in zip(
        (mean, std), naive_vae.moments(w, pixels.double(), LEVELS, GROUPS), strict=True
    ):
        expected = 0.5 * latents.flatten(2).transpose(1, 2)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    raw = naive_vae.decode(w, unpatchify(mean, (6, 4), 1).double() / 0.5, LEVELS, GROUPS)
    found = vae.decode(mean, (6, 4))
    assert found.shape == (2, 3, 24, 16)
    torch.testing.assert_close(found.double(), (raw * 0.5 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-5)
    assert raw.std() > 0.01


def test_latents_are_drawn_from_the_posterior() -> None:
    vae, pixels = random_vae(), torch.zeros(1, 3, 8, 8)
    mean, std = vae.posterior(pixels)

    def drawn(seed: int) -> torch.Tensor:
        return vae.encode(pixels, torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(1), drawn(1))
    draws = vae.encode(pixels.expand(100, -1, -1, -1), torch.Generator().manual_seed(2))
    whitened = ((draws - mean) / std).flatten()
    assert abs(float(whitened.mean())) < 4 / len(whitened) ** 0.5
    assert abs(float(whitened.std()) - 1) < 4 / (2 * len(whitened)) ** 0.5


def test_patches_keep_their_place() -> None:
    latents = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    tokens = patchify(latents, 2)
    assert tokens.shape == (2, 6, 12)
    assert torch.equal(tokens[1, 4].view(3, 2, 2), latents[1, :, 2:4, 2:4])
    assert torch.equal(unpatchify(tokens, (2, 3), 2), latents)


def test_patches_of_latents_make_wider_vectors() -> None:
    one, four = random_vae(), random_vae(patch=2)
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    small, wide = one.posterior(pixels)[0], four.posterior(pixels)[0]
    assert (small.shape, wide.shape) == ((1, 16, 4), (1, 4, 16))
    torch.testing.assert_close(four.decode(wide), one.decode(small))


def test_wrong_shapes_are_refused() -> None:
    vae = random_vae()
    with pytest.raises(ValueError, match=r"multiples of 4, got \(1, 3, 8, 6\); resize"):
        vae.posterior(torch.zeros(1, 3, 8, 6))
    with pytest.raises(ValueError, match="12 tokens do not fill a grid of 3 x 3; give grid"):
        vae.decode(torch.zeros(1, 12, 4))
    with pytest.raises(ValueError, match="decodes tokens of width 4, got 8"):
        vae.decode(torch.zeros(1, 4, 8))


def test_pixels_are_float32_whatever_the_weights() -> None:
    vae = random_vae().to(torch.bfloat16)
    tokens = vae.encode(torch.zeros(1, 3, 8, 8))
    assert tokens.dtype == torch.bfloat16
    pixels = vae.decode(tokens.float())
    assert pixels.dtype == torch.float32
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
