"""Folders and files of latent models, through the loader that the pipeline uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from adapters.image_tokens.loading import load_target, units_of
from adapters.mar.loading import assemble, save_folder
from adapters.mar.loading import load_target as load_file
from adapters.mar.target import LatentDefaults, LatentImageTarget
from adapters.mar.vae import LatentVAE
from mmspec.engine import Engine
from tests.adapters.mar.test_decoders import GRID, WIDTH, network

CLASSES = ("dot", "bar", "ring", "cross", "wave")


def tiny_vae(channels: int = WIDTH) -> LatentVAE:
    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        layers_per_block=1,
    )
    return LatentVAE(model)


def made(variant: str = "causal") -> LatentImageTarget:
    defaults = LatentDefaults(guidance_scale=1.5, num_inference_steps=4)
    parts = {"classes": CLASSES, "defaults": defaults, "name": "tiny"}
    return assemble(network(variant), tiny_vae(), **parts)


@pytest.mark.parametrize("variant", ["causal", "masked"])
def test_a_folder_round_trip_draws_the_same(variant: str, tmp_path: Path) -> None:
    target = made(variant)
    save_folder(target, tmp_path)
    assert units_of(str(tmp_path)) == "latents"
    back = load_target(str(tmp_path), dtype="float32")
    assert isinstance(back, LatentImageTarget)
    assert (back.classes, back.defaults, back.name) == (CLASSES, target.defaults, "tiny")
    rows = []
    for one in (target, back):
        asked = one.request(None, [1, 4], one.parameters({}))
        units, _ = Engine(one, rule=one.plain_rule()).generate(asked, seeds=[0, 1])
        rows.append(units)
        pixels = one.to_pixels(units)
        assert pixels.shape == (2, 3, 2 * GRID, 2 * GRID)
        assert pixels.isfinite().all()
    assert rows[0] == rows[1]


def test_the_head_stays_in_float32(tmp_path: Path) -> None:
    save_folder(made(), tmp_path)
    target = load_target(str(tmp_path), dtype="bfloat16")
    assert target.dtype == torch.bfloat16
    assert {weight.dtype for weight in target.network.head.parameters()} == {torch.float32}
    asked = target.request(None, [1], target.parameters({}))
    units, _ = Engine(target, rule=target.plain_rule()).generate(asked, seeds=[0])
    assert torch.tensor(units).isfinite().all()


def test_what_cannot_be_loaded_says_what_to_do(tmp_path: Path) -> None:
    target = made()
    save_folder(target, tmp_path / "one")
    with pytest.raises(ValueError, match="belong to different models"):
        assemble(network("causal"), tiny_vae(channels=WIDTH + 1))
    with pytest.raises(ValueError, match="names given for 5 classes"):
        assemble(network("causal"), tiny_vae(), classes=("one",))
    with pytest.raises(ValueError, match=r"give vae="):
        load_file(tmp_path / "one" / "model" / "model.safetensors")
    with pytest.raises(ValueError, match="do not take vq"):
        load_target(str(tmp_path / "one"), vq="somewhere")
    fresh = network("causal")
    fresh.reset_parameters(torch.Generator().manual_seed(0))
    save_folder(assemble(fresh, tiny_vae()), tmp_path / "fresh")
    with pytest.raises(ValueError, match="freshly initialised"):
        load_target(str(tmp_path / "fresh"))
    config = tmp_path / "one" / "config.json"
    config.write_text(json.dumps({"model_type": "mar", "vae": "nowhere"}))
    with pytest.raises(ValueError, match="nowhere"):
        load_target(str(tmp_path / "one"))


@pytest.mark.parametrize(
    ("prompts", "classes", "change", "word"),
    [
        (["a dot"], None, {}, "class_id"),
        (None, [5], {}, "out of range"),
        (None, [1], {"guidance_scale": -1.0}, "guidance_scale"),
        (None, [1], {"guidance_schedule": "cubic"}, "linear or constant"),
        (None, [1], {"num_inference_steps": 2000}, "between 2 and 1000"),
        (None, [1], {"top_k": 5}, "take no top_k"),
    ],
)
def test_wrong_requests_are_refused(prompts, classes, change: dict, word: str) -> None:
    target = made()
    with pytest.raises(ValueError, match=word):
        target.request(prompts, classes, target.parameters(change))
