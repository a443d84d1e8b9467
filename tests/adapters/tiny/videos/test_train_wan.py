"""What the embedded video models learn, and a run of the script that can be killed."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adapters.tiny.videos import text_encoder, train_wan, wan_trainee
from adapters.tiny.videos.parallel import install_parallel
from adapters.tiny.videos.vae_shape import FIRST_SHAPE, build_vae, plain_vae
from adapters.tiny.videos.wan_shape import BLOCK_FRAMES, DRAFTER, SHALLOW, TARGET
from adapters.tiny.videos.wan_trainee import GUIDANCE, wan_loss
from adapters.wan.checkpoints import load_wan, save_folder
from tests.adapters.wan.tiny_wan import CHANNELS, TEXT_WIDTH, random_wan

ROWS, SEED = 3, 5


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(ROWS, CHANNELS, 2 * BLOCK_FRAMES, 4, 4, generator=generator)
    return latents, torch.randn(ROWS, 7, TEXT_WIDTH, generator=generator)


def test_a_model_learns_nothing_new_from_itself_as_the_weaker_one() -> None:
    model, given = install_parallel(random_wan()), batch()
    plain = wan_loss(model, *given, SEED)
    assert torch.equal(wan_loss(model, *given, SEED, weak=copy.deepcopy(model)), plain)
    weak = install_parallel(random_wan(seed=1))
    assert not torch.isclose(wan_loss(model, *given, SEED, weak=weak), plain, rtol=1e-3)


def test_guidance_moves_the_answer_away_from_the_weaker_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loss is least at ``truth + w / (1 - w) (truth - weak)``; ``w`` depends on the noise."""
    latents, text = batch()
    level = 0.8
    told: dict[str, Tensor] = {}

    def levels(rows: int, blocks: int, generator: torch.Generator) -> Tensor:
        return torch.full((rows, blocks), level)

    def answer(model: str, clean: Tensor, noisy: Tensor, *rest: object) -> Tensor:
        truth = (noisy - latents) / level
        weak = 0.5 * truth
        weight = GUIDANCE * level**2
        told["model"] = truth + weight / (1 - weight) * (truth - weak)
        return weak if model == "weak" else told["model"] + told.get("off", 0)

    monkeypatch.setattr(wan_trainee, "draw_levels", levels)
    monkeypatch.setattr(wan_trainee, "teacher_forced", answer)
    assert wan_loss("model", latents, text, SEED, weak="weak") < 1e-9
    assert wan_loss("model", latents, text, SEED) > 1e-2
    told["off"] = torch.tensor(0.1)
    assert wan_loss("model", latents, text, SEED, weak="weak") > 1e-3


def test_a_teacher_adds_the_distance_from_its_velocities() -> None:
    model, teacher = (install_parallel(random_wan(seed)) for seed in (0, 1))
    plain = wan_loss(model, *batch(), SEED)
    assert torch.equal(wan_loss(model, *batch(), SEED, model), plain)
    taught = wan_loss(model.requires_grad_(True), *batch(), SEED, teacher)
    taught.backward()
    assert taught > plain
    assert all(weight.grad is None for weight in teacher.parameters())


def test_training_in_stages_resumes_and_writes_its_card(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = plain_vae(build_vae(FIRST_SHAPE), torch.zeros(12), torch.ones(12))
    save_folder(vae, tmp_path / "vae", torch.bfloat16)
    text_encoder.build_text_encoder().save_pretrained(tmp_path / "text")
    text_encoder.build_tokenizer().save_pretrained(tmp_path / "text")
    given = ["--video-vae", "vae", "--text-encoder", "text", "--work", "work", "--latents", "films"]
    given = [*given[:1], *(str(tmp_path / one) if "--" not in one else one for one in given[1:])]
    given += ["--films", "1", "--openings", "2", "--held-out", "1", "--rows", "1"]
    given += ["--opening-rows", "2", "--threads", "1"]
    weak, shallow, out = tmp_path / DRAFTER, tmp_path / SHALLOW, tmp_path / TARGET
    train_wan.main([DRAFTER, "--out", str(weak), *given, "--steps", "1"])
    guided = [SHALLOW, "--out", str(shallow), "--weak", str(weak), *given]
    train_wan.main([*guided, "--steps", "1", "1"])
    first = load_wan(shallow, dtype=torch.float32).state_dict()
    card = (shallow / "README.md").read_text()
    assert "| wan-target | 1 |" in card
    assert "| wan-guided | 1 |" in card
    assert "--weak" in card
    assert "wan-guided" not in (weak / "README.md").read_text()
    train_wan.main([*guided, "--steps", "1", "1"])  # nothing is left to do
    again = load_wan(shallow, dtype=torch.float32).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in first.items())
    train_wan.main([*guided, "--steps", "1", "2"])
    more = load_wan(shallow, dtype=torch.float32).state_dict()
    assert any(not torch.equal(more[name], weight) for name, weight in first.items())
    grown = [TARGET, "--out", str(out), "--start", str(shallow), "--weak", str(weak), *given]
    train_wan.main([*grown, "--steps", "1"])
    assert len(load_wan(out).blocks) > len(load_wan(shallow).blocks)
    assert "| wan-deepened | 1 |" in (out / "README.md").read_text()
    taught = [DRAFTER, "--out", str(tmp_path / "taught"), "--teacher", str(out), *given]
    train_wan.main([*taught, "--steps", "1", "1"])
    told = load_wan(tmp_path / "taught", dtype=torch.float32).state_dict()
    alone = load_wan(weak, dtype=torch.float32).state_dict()
    assert any(not torch.equal(told[name], weight) for name, weight in alone.items())
    card = (tmp_path / "taught" / "README.md").read_text()
    assert "| wan-drafter | 1 |" in card
    assert "| wan-taught | 1 |" in card
    assert "--teacher" in card


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ([DRAFTER, "--weak", "here"], "--weak is for the shallow model and the target"),
        ([TARGET, "--weak", "here"], "grows from a shallow model: --start"),
        ([SHALLOW, "--start", "here"], "grows from a shallow model: --start"),
        ([SHALLOW, "--teacher", "here"], "--teacher is for the drafter"),
    ],
)
def test_wrong_words_are_refused_before_work(words: list[str], fix: str, capsys) -> None:
    with pytest.raises(SystemExit):
        train_wan.main([*words, "--out", "nowhere"])
    assert fix in capsys.readouterr().err
