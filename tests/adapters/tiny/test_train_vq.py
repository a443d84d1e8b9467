from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adapters.llamagen.vq import VQConfig, VQModel
from adapters.llamagen.vq_checkpoints import load_vq
from adapters.tiny.images import train_vq, vq_shape
from adapters.tiny.images.train_vq import main, picture_loss, vq_loss, vq_pixels, vq_scene
from adapters.tiny.images.vq_scores import flat_codes, vq_scores
from adapters.tiny.images.vq_shape import VQ_SHAPE, VQTrainee, spread_codes

TINY = VQConfig(
    codebook_size=16,
    codebook_embed_dim=4,
    ch=4,
    ch_mult=(1, 1, 2),
    num_res_blocks=1,
    z_channels=8,
    num_groups=0,
    attention=False,
    local_encoder=True,
    padding="replicate",
)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes are laid out at step 1 and moved at every step from then on."""
    monkeypatch.setattr(train_vq, "FIRST_CODES", 1)
    monkeypatch.setattr(train_vq, "RESTART_EVERY", 1)
    monkeypatch.setattr(train_vq, "_CODEBOOK_ROWS", 4)


def trainee(seed: int = 0) -> VQTrainee:
    torch.manual_seed(seed)
    return VQTrainee(TINY)


def test_embedded_shape_is_small_enough() -> None:
    with torch.device("meta"):
        parameters = sum(part.numel() for part in VQModel(VQ_SHAPE).parameters())
    assert parameters <= 1_000_000
    assert VQ_SHAPE.downsampling == 4


def test_every_second_training_picture_is_full() -> None:
    assert len(vq_scene(60_000_001).things) == 9
    assert len(vq_scene(60_000_000).things) <= 4
    pixels = vq_pixels(range(60_000_000, 60_000_002))
    assert pixels.shape == (2, 3, 64, 64)
    assert pixels.min() >= -1
    assert pixels.max() <= 1


def test_picture_loss_is_zero_at_equality_and_sees_edges() -> None:
    wanted = torch.zeros(1, 3, 4, 4)
    assert picture_loss(wanted, wanted) == 0
    ragged = wanted + torch.tensor([0.5, -0.5]).repeat(2)
    assert picture_loss(ragged, wanted) > picture_loss(wanted + 0.5, wanted)


def test_spread_codes_finds_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=-1)
    noise = 0.004 * torch.randn(300, 4, generator=generator)
    vectors = centres.repeat_interleave(50, dim=0) + noise
    rows = spread_codes(vectors, 6, generator)
    assert torch.cdist(centres, rows).min(dim=1).values.max() < 0.02


def test_spread_codes_needs_enough_different_vectors() -> None:
    with pytest.raises(ValueError, match="1 different vectors cannot seed 2 codes"):
        spread_codes(torch.ones(9, 4), 2, torch.Generator())


def test_unused_codes_move_to_latents_and_used_ones_stay() -> None:
    module, pixels = trainee(), vq_pixels(range(60_000_000, 60_000_004))
    module.first_codes(pixels, torch.Generator().manual_seed(0))
    module.uses[:] = 10
    module.uses[3] = 0
    before = module.model.quantize.embedding.weight.clone()
    assert module.restart_dead(pixels, torch.Generator().manual_seed(0)) == 1
    changed = (module.model.quantize.embedding.weight != before).any(dim=-1)
    assert changed.nonzero().flatten().tolist() == [3]
    assert int(module.uses.sum()) == 0


@pytest.mark.usefixtures("soon")
def test_loss_depends_on_step_and_module_alone() -> None:
    first, second = trainee(), trainee()
    for step in range(3):
        torch.manual_seed(step + 99)  # no matter
        losses = [vq_loss(module, step, 8, rows=2) for module in (first, second)]
        assert torch.equal(losses[0], losses[1])
    assert torch.equal(first.uses, second.uses)
    assert int(first.uses.sum()) == 2 * 256


def test_flat_codes_keep_away_from_things() -> None:
    inked = torch.zeros(1, 64, 64, dtype=torch.bool)
    inked[0, 20, 20] = True  # in code (5, 5)
    flat = flat_codes(inked)[0]
    assert not flat[3:8, 3:8].any()
    assert int(flat.sum()) == 256 - 25


def test_flat_areas_of_any_local_model_have_one_code() -> None:
    scores = vq_scores(trainee().model, pictures=6)
    assert scores["codes_per_background"] == 1
    assert scores["perplexity"] <= 16
    assert scores["psnr"] > 0


@pytest.mark.usefixtures("soon")
def test_training_writes_a_complete_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_vq, "VQTrainee", trainee)
    monkeypatch.setattr(train_vq, "vq_scores", lambda model: vq_scores(model, pictures=4))
    out, work = tmp_path / "vq", tmp_path / "work"
    options = ["--out", str(out), "--work", str(work), "--rows", "2", "--threads", "1"]
    main([*options, "--steps", "3"])
    assert len((work / "vq.jsonl").read_text().splitlines()) == 3
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "config.json",
        "loss.png",
        "model.safetensors",
        "scores.json",
    }
    assert load_vq(out).config == TINY
    assert "3 steps of 2 pictures" in (out / "README.md").read_text()
    assert json.loads((out / "scores.json").read_text())["codes_per_background"] == 1


def test_first_codes_come_before_the_first_restart() -> None:
    assert vq_shape.FIRST_CODES > 0
    assert vq_shape.RESTART_EVERY > 0
