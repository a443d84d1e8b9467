from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from adapters.mar.checkpoints import load_vae
from adapters.tiny.images.evaluate import class_scores
from adapters.tiny.images.gpt_shape import CLASS_NAMES, class_of
from adapters.tiny.images.judge import Seen
from adapters.tiny.latents import train_vae
from adapters.tiny.latents.scenes import latent_scene, scene_pixels
from adapters.tiny.latents.train_vae import latent_scale, main, vae_loss, vae_scene
from adapters.tiny.latents.vae_scores import vae_scores
from adapters.tiny.latents.vae_shape import build_vae, plain_vae
from adapters.tiny.optimiser import build_optimisers
from adapters.tiny.world.scene import HELD_OUT
from tests.adapters.tiny.latents.world import shrink


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    torch.manual_seed(0)


def test_scenes_hold_one_or_two_things_and_held_out_ones_are_others() -> None:
    counts = [len(latent_scene(seed).things) for seed in range(60)]
    assert set(counts) == {1, 2}
    assert 20 < counts.count(1) < 40
    training = {repr(latent_scene(seed)) for seed in range(40)}
    assert not training & {repr(latent_scene(seed, held_out=True)) for seed in range(40)}
    with pytest.raises(ValueError, match="seed must be between"):
        latent_scene(HELD_OUT)


def test_one_training_picture_in_four_is_sparse() -> None:
    assert [len(vae_scene(seed).things) == 9 for seed in range(8)] == [False, True, True, True] * 2
    pixels = scene_pixels([vae_scene(0), vae_scene(1)])
    assert pixels.shape == (2, 3, 64, 64)
    assert pixels.min() >= -1
    assert pixels.max() <= 1


def test_filters_are_matrices_for_the_optimiser_and_ordinary_again_in_the_end() -> None:
    vae = build_vae()
    hidden = build_optimisers(vae.named_parameters())[1].param_groups[0]["params"]
    names = {id(parameter): name for name, parameter in vae.named_parameters()}
    found = {names[id(parameter)] for parameter in hidden}
    assert "decoder.up_blocks.0.resnets.0.conv1.parametrizations.weight.original" in found
    assert not [name for name in found if "conv_in" in name or "conv_out" in name]
    assert not [name for name in found if "quant" in name]
    plain = plain_vae(vae, 2.0).model
    assert not [name for name, _ in plain.named_parameters() if "parametrizations" in name]
    pixels = scene_pixels([latent_scene(0)])
    with torch.no_grad():
        ours, theirs = (model.encode(pixels).latent_dist.mean for model in (vae, plain))
    torch.testing.assert_close(ours, theirs)


def test_the_posterior_starts_narrow() -> None:
    posterior = build_vae().encode(scene_pixels([latent_scene(0)])).latent_dist
    torch.testing.assert_close(posterior.logvar, torch.full_like(posterior.logvar, -4.0))


def test_loss_depends_on_step_and_module_alone_and_reaches_every_weight() -> None:
    vae = build_vae()
    torch.manual_seed(1)
    first = vae_loss(vae, 3, rows=2)
    torch.manual_seed(2)
    assert torch.equal(first, vae_loss(vae, 3, rows=2))
    assert not torch.equal(first, vae_loss(vae, 4, rows=2))
    first.backward()
    assert all(parameter.grad is not None for parameter in vae.parameters())


def test_the_scale_makes_drawn_latents_of_unit_deviation() -> None:
    vae = build_vae()
    with torch.no_grad():
        # A wide posterior on means that are far from zero: both must be told apart.
        vae.quant_conv.bias[16:] = 0.0
        vae.quant_conv.bias[:16] = 3.0
    scaled = plain_vae(vae, latent_scale(vae, pictures=24))
    pixels = scene_pixels([vae_scene(train_vae._FIRST_SEED + 4 * index) for index in range(24)])
    with torch.no_grad():
        latents = scaled.encode(pixels, torch.Generator().manual_seed(0))
    assert float(latents.std()) == pytest.approx(1.0, abs=0.02)


def test_attribute_scores_ask_for_colour_and_shape_of_the_main_thing() -> None:
    scenes = [latent_scene(seed) for seed in range(6)]
    seen = [Seen(scene.things, scene.background, 1.0, (1.0,) * 9) for scene in scenes]
    classes = [class_of(scene) for scene in scenes]
    assert set(class_scores(classes, seen).values()) == {1.0}
    # The next class is of the same colour and another shape, or of both others.
    other = [(one + 1) % len(CLASS_NAMES) for one in classes]
    scores = class_scores(other, seen)
    assert scores["shape"] == 0.0
    assert scores["class"] == 0.0
    assert scores["attribute_accuracy"] == pytest.approx(scores["colour"] / 2, abs=1e-3)
    nothing = [Seen((), "mint", 1.0, (1.0,) * 9)]
    assert set(class_scores([0], nothing).values()) == {0.0}


def test_an_autoencoder_without_loss_scores_full(monkeypatch: pytest.MonkeyPatch) -> None:
    class Identity(nn.Module):
        def posterior(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = pixels.flatten(1).unsqueeze(1)
            return flat, torch.zeros_like(flat)

        def decode(self, tokens: torch.Tensor) -> torch.Tensor:
            return ((tokens.view(-1, 3, 64, 64) + 1) / 2).clamp(0, 1)

    scores = vae_scores(Identity(), pictures=8)  # type: ignore[arg-type]
    assert scores["psnr"] > 90
    assert scores["judge"] == scores["judge_true"] == 1.0
    assert 15 < scores["psnr_noisy"] < 25
    assert scores["posterior_std"] == 0


def test_training_writes_a_complete_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_vae, "_SCALE_PICTURES", 8)
    monkeypatch.setattr(train_vae, "vae_scores", lambda vae: vae_scores(vae, pictures=4))
    out, work = tmp_path / "vae", tmp_path / "work"
    options = ["--out", str(out), "--work", str(work), "--rows", "2", "--threads", "1"]
    main([*options, "--steps", "2"])
    assert len((work / "vae.jsonl").read_text().splitlines()) == 2
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "loss.png",
        "scores.json",
    }
    vae = load_vae(out)
    assert vae.dtype == torch.bfloat16
    assert (vae.token_width, vae.stride) == (16, 8)
    assert vae.scale == json.loads((out / "config.json").read_text())["scaling_factor"]
    assert "2 steps of 2 pictures" in (out / "README.md").read_text()
