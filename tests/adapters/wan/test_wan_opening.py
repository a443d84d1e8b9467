"""Wan targets by name: folders with settings beside them, presets, drafters, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adapters.tiny.videos.text_encoder import build_text_encoder, build_tokenizer, encode
from adapters.tiny.videos.wan_shape import WAN_SETTINGS
from adapters.wan.checkpoints import save_folder
from adapters.wan.loading import load_text_encoder
from adapters.wan.opening import open_target
from adapters.wan.rebuilding import RebuiltWan
from adapters.wan.settings import PRESETS, WanSettings, read_settings
from adapters.wan.target import WanBlocks
from tests.adapters.wan.tiny_wan import random_vae, random_wan

PROMPT = "a red circle moves to the right"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Laid out as the embedded models are."""
    place = tmp_path_factory.mktemp("wan")
    torch.manual_seed(0)
    encoder = build_text_encoder().eval()
    encoder.save_pretrained(place / "text_encoder")
    build_tokenizer().save_pretrained(place / "text_encoder")
    save_folder(random_vae(base_dim=4), place / "vae")
    for name, seed in (("target", 0), ("drafter", 1)):
        model = random_wan(seed, num_layers=1, text_dim=encoder.config.d_model)
        save_folder(model, place / name)
        WAN_SETTINGS.save(place / name)
    return place


def test_a_folder_says_how_it_is_run(folder: Path) -> None:
    target = open_target(folder / "target", dtype="float32")
    assert target.name == "target"
    assert target.dtype == torch.float32
    assert (target.defaults.blocks, target.defaults.height, target.defaults.fps) == (6, 64, 16)
    assert target.frames_of(6) == 69
    assert target.blocks_of(69) == 6
    drafter = open_target(folder / "drafter", dtype="float32", like=target)
    assert drafter.vae is target.vae
    assert drafter.encoder is target.encoder
    assert drafter.format == target.format
    made = target.request(PROMPT, 2, 64, 64)
    assert made.shape == (4, 3, 8, 8)


def test_prompts_are_read_as_in_training(folder: Path) -> None:
    text = load_text_encoder(folder, torch.float32, WAN_SETTINGS.text_tokens)
    wanted, _ = encode(text.model, text.tokenizer, [PROMPT])
    torch.testing.assert_close(text(PROMPT), wanted.detach())


def test_presets_and_settings(folder: Path, tmp_path: Path) -> None:
    path = folder / "target"
    assert read_settings(path) == WAN_SETTINGS
    assert read_settings(path, "krea") == PRESETS["krea"]
    assert read_settings(tmp_path) == WanSettings()
    changed = read_settings(path, None, {"steps": [1000, 500], "window": 9, "sink": 1})
    assert (changed.steps, changed.window, changed.blocks) == ((1000, 500), 9, 6)
    krea = open_target(path, preset="krea", shared=folder, settings={"text_tokens": 17})
    assert isinstance(krea.model, RebuiltWan)
    assert krea.schedule.timesteps[-1] == 0
    assert krea.model.vae is krea.vae
    still = open_target(path, settings={"rebuild": 2, "reencode": False})
    assert isinstance(still.model, RebuiltWan)
    assert still.model.vae is None
    rolling = open_target(path, settings={"window": 9})
    assert isinstance(rolling.model, WanBlocks)
    assert rolling.model.window == 9
    assert PRESETS["causvid"].schedule.timesteps == (1000.0, 757.0, 522.0)
    assert PRESETS["self-forcing"].schedule.timesteps == pytest.approx(
        (1000.0, 937.5, 833.3333, 625.0)
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"colour": 1}, "knows no colour; it knows steps"),
        ({"steps": "four"}, "steps of a video model must be a list of thousandths, got 'four'"),
        ({"warp": 1}, "warp of a video model must be true or false"),
        ({"block_frames": 0}, "block_frames of a video model must be a positive number, got 0"),
        ({"shift": -1}, "shift of a video model must be a positive number"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_settings(tmp_path, None, given)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file or folder"):
        open_target(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="revision='main' was given"):
        open_target(folder / "target", revision="main")
    with pytest.raises(ValueError, match="unknown preset 'wan'; there are self-forcing"):
        open_target(folder / "target", preset="wan")
    save_folder(random_wan(num_layers=1), tmp_path / "alone")
    with pytest.raises(ValueError, match="is a transformer alone; give shared="):
        open_target(tmp_path / "alone")
    (tmp_path / "alone" / "video.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds no settings, but list"):
        open_target(tmp_path / "alone")
    (tmp_path / "alone" / "video.json").write_text(json.dumps({"fps": 0}))
    with pytest.raises(ValueError, match=r"fps of .*video.json must be a positive number"):
        open_target(tmp_path / "alone")
