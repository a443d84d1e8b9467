"""The embedded image drafter's script from start to finish, on a random target."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adapters.llamagen.gpt import GPT
from adapters.llamagen.loading import load_target
from adapters.llamagen.vq import VQModel
from adapters.llamagen.vq_checkpoints import load_vq, save_vq
from adapters.tiny.images.codes import code_scene, picture_codes
from adapters.tiny.images.gpt_shape import text_gpt_config
from adapters.tiny.images.text_encoder import build_text_encoder, build_tokenizer
from adapters.tiny.images.train_eagle import main, samples
from adapters.tiny.images.train_gpt import save_model
from adapters.tiny.images.vq_shape import VQ_SHAPE
from adapters.tiny.world.prompt_parser import parse_prompt
from image_ar.discrete.eagle.drafter import ImageEagleDrafter
from image_ar.discrete.eagle.storage import load


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the parts of the text-to-image model, none of them trained."""
    folder = tmp_path_factory.mktemp("eagle") / "llamagen"
    torch.manual_seed(0)
    save_vq(VQModel(VQ_SHAPE), folder / "vq")
    gpt = GPT(text_gpt_config())
    gpt.reset_parameters(torch.Generator().manual_seed(0), zero_output=False)
    save_model("text", gpt, folder / "vq", folder)
    for part in (build_text_encoder(), build_tokenizer()):
        part.save_pretrained(folder / "text_encoder")
    return folder


def test_samples_are_pictures_with_true_prompts(target: Path, tmp_path: Path) -> None:
    subjects, tokens = samples(target / "vq", tmp_path, 3, 2)
    assert len(subjects) == len(tokens) == 5
    vq = load_vq(target / "vq").float()
    for place, unseen in ((0, False), (2, False), (3, True)):
        scene = code_scene(place % 3, held_out=unseen)
        assert tokens[place].tolist() == picture_codes(vq, [scene])[0].tolist()
        prompt = subjects[place].prompt
        assert prompt is not None
        wish = parse_prompt(prompt)
        said = {word for word in (thing.shape for thing in scene.things) if word in prompt}
        assert wish
        assert said


def test_the_script_leaves_a_drafter_of_its_target(target: Path, tmp_path: Path) -> None:
    out = tmp_path / "image-eagle"
    words = ["--out", out, "--work", tmp_path / "work", "--codes", tmp_path, "--target", target]
    words += ["--pictures", 4, "--held-out", 2, "--steps", 1, "--threads", 1]
    main([str(word) for word in words])
    assert {path.name for path in out.iterdir()} == {
        *("config.json", "model.safetensors", "README.md", "curve.png", "scores.json")
    }
    network = load(out)
    assert (network.config.num_heads, network.config.intermediate_size) == (4, 384)
    ImageEagleDrafter(network, load_target(target, dtype="float32"))
    overlap = json.loads((out / "scores.json").read_text())["overlap"]
    assert len(overlap) == 4
    assert f"{overlap[0]:.3f}" in (out / "README.md").read_text()
    assert "adapters.tiny.images.train_eagle" in (out / "README.md").read_text()
