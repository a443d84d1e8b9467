"""The quick autoencoder learns the latents of the first one."""

from __future__ import annotations

from pathlib import Path

import torch

from adapters.tiny.videos import train_quick_vae, train_video_vae
from adapters.tiny.videos.vae_shape import FIRST_SHAPE, build_vae, plain_vae
from adapters.wan.checkpoints import load_vae, save_folder
from adapters.wan.vae import WanVae


def test_the_first_one_learns_in_every_filter() -> None:
    torch.manual_seed(0)
    vae = build_vae(FIRST_SHAPE)
    train_video_vae.vae_loss(vae, 0, 1, 9).backward()
    for name, weight in vae.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


def test_a_run_keeps_the_scale_of_the_latents_and_resumes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher, out = tmp_path / "first", tmp_path / "quick"
    mean, std = torch.linspace(-1, 1, 12), torch.linspace(0.5, 2, 12)
    save_folder(plain_vae(build_vae(FIRST_SHAPE), mean, std), teacher, torch.bfloat16)
    given = ["--teacher", str(teacher), "--out", str(out), "--work", str(tmp_path / "work")]
    given += ["--latents", str(tmp_path / "films"), "--films", "1", "--openings", "2"]
    given += ["--scored", "1", "--threads", "1", "--steps"]
    train_quick_vae.main([*given, "1"])
    first = load_vae(out, torch.float32)
    assert torch.allclose(torch.tensor(first.config.latents_mean), mean)
    assert torch.allclose(torch.tensor(first.config.latents_std), std)
    latents = torch.zeros(1, 12, 3, 8, 8)
    assert WanVae(first).decode(latents)[0].shape == (1, 3, 9, 64, 64)
    card = (out / "README.md").read_text()
    assert "| video-vae-quick | 1 |" in card
    assert "with its own latents" in card
    train_quick_vae.main([*given, "1"])  # nothing is left to do
    again = load_vae(out, torch.float32).state_dict()
    assert all(torch.equal(again[name], one) for name, one in first.state_dict().items())
    train_quick_vae.main([*given, "2"])
    more = load_vae(out, torch.float32).state_dict()
    assert any(not torch.equal(more[name], one) for name, one in first.state_dict().items())
