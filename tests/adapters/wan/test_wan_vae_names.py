"""Wan 2.1's original autoencoder file: every name has its place, and the numbers land in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from adapters.wan.checkpoints import load_vae, save_folder
from adapters.wan.vae_names import FILE, is_original_vae, vae_config, vae_to_diffusers
from tests.adapters.wan.original_vae import original_shapes

TINY = {"dim": 4, "residuals": 1}


def meta(**sizes: int) -> dict[str, Tensor]:
    shapes = original_shapes(**sizes)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def random_file(path: Path) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = original_shapes(**TINY)
    weights = {
        name: torch.randn(shape, generator=generator) / max(1, len(shape)) ** 2
        for name, shape in shapes.items()
    }
    torch.save(weights, path)
    return weights


@pytest.mark.parametrize("sizes", [{}, TINY, {"dim": 8, "residuals": 3}], ids=str)
def test_every_name_and_shape_has_its_place(sizes: dict[str, int]) -> None:
    weights = meta(**sizes)
    config = vae_config(weights)
    assert is_original_vae(weights)
    with torch.device("meta"):
        model = AutoencoderKLWan(**config)
    named = vae_to_diffusers(weights)
    assert len(named) == len(weights)
    assert {name: value.shape for name, value in named.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }


def test_the_released_sizes() -> None:
    weights = meta()
    assert vae_config(weights) == {"base_dim": 96, "z_dim": 16, "num_res_blocks": 2}
    assert sum(value.numel() for value in weights.values()) == 126_892_531
    named = vae_to_diffusers({name: torch.empty(0) for name in weights})
    assert not is_original_vae(named)
    same = "encoder.downsamples.2.resample.1.bias", "encoder.down_blocks.2.resample.1.bias"
    assert vae_to_diffusers({same[0]: torch.empty(0), **weights}).keys() >= {same[1]}


def test_numbers_land_where_they_belong(tmp_path: Path) -> None:
    weights = random_file(tmp_path / FILE)
    vae = load_vae(tmp_path / FILE)
    state = vae.state_dict()
    places = {
        "conv2.weight": "post_quant_conv.weight",
        "encoder.downsamples.1.resample.1.weight": "encoder.down_blocks.1.resample.1.weight",
        "encoder.middle.1.to_qkv.bias": "encoder.mid_block.attentions.0.to_qkv.bias",
        "decoder.upsamples.2.time_conv.weight": "decoder.up_blocks.0.upsamplers.0.time_conv.weight",
        "decoder.upsamples.3.residual.6.weight": "decoder.up_blocks.1.resnets.0.conv2.weight",
        "decoder.upsamples.10.residual.3.gamma": "decoder.up_blocks.3.resnets.1.norm2.gamma",
        "decoder.head.2.bias": "decoder.conv_out.bias",
    }
    for theirs, ours in places.items():
        assert torch.equal(state[ours], weights[theirs])
    assert sum(float(value.sum()) for value in state.values()) == pytest.approx(
        sum(float(value.sum()) for value in weights.values()), abs=1e-2
    )
    pictures = vae.decode(torch.ones(1, 16, 2, 2, 2)).sample
    assert pictures.shape == (1, 3, 5, 16, 16)
    assert bool(pictures.isfinite().all())


def test_a_folder_that_has_the_file_and_one_of_diffusers_give_one_model(tmp_path: Path) -> None:
    random_file(tmp_path / FILE)
    vae = load_vae(tmp_path)
    save_folder(vae, tmp_path / "again" / "vae")
    again = load_vae(tmp_path / "again", torch.bfloat16)
    assert again.dtype == torch.bfloat16
    assert all(
        torch.equal(value.to(torch.bfloat16), again.state_dict()[name])
        for name, value in vae.state_dict().items()
    )
    assert vae.config.latents_mean == again.config.latents_mean


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    weights = random_file(tmp_path / FILE)
    del weights["decoder.upsamples.3.residual.6.bias"]
    weights["encoder.extra.weight"] = torch.zeros(1)
    weights["decoder.head.0.gamma"] = torch.zeros(3, 1, 1, 1)
    torch.save(weights, tmp_path / FILE)
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_vae(tmp_path / FILE)
    told = str(caught.value)
    for name in ("decoder.up_blocks.1.resnets.0.conv2.bias", "encoder.extra.weight"):
        assert name in told
    assert "decoder.norm_out.gamma" in told
    other = meta(channels=48)
    with pytest.raises(ValueError, match=r"48 channels, those of 2\.1 have 16"):
        vae_config(other)


def test_pickles_with_code_are_refused(tmp_path: Path) -> None:
    torch.save({"conv2.weight": Path("a")}, tmp_path / FILE)
    with pytest.raises(ValueError, match="tensors"):
        load_vae(tmp_path / FILE)
