"""Both trainings of MuLo-SD from start to finish, on a random tokenizer and text encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adapters.llamagen.gpt import GPT
from adapters.llamagen.loading import load_target
from adapters.llamagen.vq import VQModel
from adapters.llamagen.vq_checkpoints import load_vq, save_vq
from adapters.tiny.images.codes import code_scene, stored_codes
from adapters.tiny.images.pictures import picture_array
from adapters.tiny.images.text_encoder import build_text_encoder, build_tokenizer
from adapters.tiny.images.train_mulo import code_pairs, low_gpt_config, main
from adapters.tiny.images.vq_shape import VQ_SHAPE
from image_ar.discrete.mulo.storage import load


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the parts of the large model are, and where things go."""
    root = tmp_path_factory.mktemp("mulo")
    torch.manual_seed(0)
    save_vq(VQModel(VQ_SHAPE), root / "large" / "vq")
    for part in (build_text_encoder(), build_tokenizer()):
        part.save_pretrained(root / "large" / "text_encoder")
    return {
        "root": root,
        "vq": root / "large" / "vq",
        "text": root / "large" / "text_encoder",
        "codes": root / "codes",
    }


def common(folders: dict[str, Path], part: str) -> list[str]:
    return [
        *("--out", str(folders["root"] / part), "--work", str(folders["root"] / "work")),
        *("--codes", str(folders["codes"]), "--vq", str(folders["vq"])),
        *("--pictures", "4", "--rows", "2", "--threads", "1"),
    ]


def test_the_low_model_stays_small() -> None:
    assert low_gpt_config().grid == 8
    with torch.device("meta"):
        made = GPT(low_gpt_config())
    assert sum(parameter.numel() for parameter in made.parameters()) <= 900_000


def test_pairs_are_the_same_pictures_at_two_sizes(folders: dict[str, Path]) -> None:
    low, high = code_pairs(folders["vq"], folders["codes"], 3)
    assert low.shape == (3, 8, 8)
    assert high.shape == (3, 16, 16)
    again = stored_codes(folders["vq"], folders["codes"], 2, side=32)
    assert (again == low[:2].reshape(2, -1)).all()
    pixels = torch.tensor(picture_array(code_scene(1))).permute(2, 0, 1).float() / 127.5 - 1
    halved = torch.nn.functional.avg_pool2d(pixels, 2).unsqueeze(0)
    codes = load_vq(folders["vq"]).float().encode(halved)
    assert codes.flatten().tolist() == low[1].flatten().tolist()


def test_the_low_model_trains_and_loads(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.tiny.images.train_mulo.HELD_OUT_PICTURES", 2)
    main(
        [
            "low",
            *common(folders, "low"),
            *("--text-encoder", str(folders["text"]), "--steps", "2", "1"),
        ]
    )
    out = folders["root"] / "low"
    target = load_target(out)
    assert (target.grid.rows, target.grid.columns) == (8, 8)
    inputs = target.prepare(["a red circle"], guidance_scale=2.0)
    assert inputs["caption"].shape[0] == 1
    assert json.loads((out / "config.json").read_text())["upsampler"] == "../upsampler"
    assert "nats a code" in (out / "README.md").read_text()
    assert (out / "loss.png").exists()


def test_the_upsampler_trains_and_loads(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.tiny.images.train_mulo.HELD_OUT_PICTURES", 2)
    main(["upsampler", *common(folders, "upsampler"), "--steps", "3"])
    out = folders["root"] / "upsampler"
    config = load(out).config
    assert (config.codes, config.ratio, config.dim) == (512, 2, 8)
    assert set(json.loads((out / "scores.json").read_text())) == {
        "accuracy",
        "accuracy_detail",
        "probability",
    }
    assert "cross-entropy" in (out / "README.md").read_text()
