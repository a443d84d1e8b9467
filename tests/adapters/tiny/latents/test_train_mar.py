"""Training of the embedded MAR models: what it must compute, and that it runs and resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, truncnorm

from adapters.mar.causal import CausalMAR
from adapters.mar.checkpoints import load_mar, save_vae
from adapters.mar.loading import load_target
from adapters.tiny.images.gpt_shape import CLASS_NAMES
from adapters.tiny.latents import drawings, ends, evaluate, mar_trainee, store, train_mar
from adapters.tiny.latents.mar_shape import mar_config
from adapters.tiny.latents.mar_trainee import (
    DRAWS,
    Trainee,
    ask,
    build_mar,
    hidden_tokens,
    mar_loss,
)
from adapters.tiny.latents.store import LatentBatch, LatentData, stored_latents
from adapters.tiny.latents.vae_shape import build_vae, plain_vae
from adapters.tiny.optimiser import build_optimisers
from adapters.tiny.run import Stage
from image_ar.continuous.process import DiffusionProcess
from image_ar.continuous.rules import Own
from mmspec.engine import Engine
from tests.adapters.tiny.latents.world import shrink, small_config

KINDS = ("causal", "draft", "masked")


def some_batch(rows: int = 4, seed: int = 0) -> LatentBatch:
    generator = torch.Generator().manual_seed(seed)
    return LatentBatch(
        tokens=torch.randn(rows, 6, 4, generator=generator),
        labels=torch.arange(rows) % 3,
        drop=torch.arange(rows) == 1,
    )


def trained(kind: str, **change: int) -> CausalMAR:
    """A model whose head does not return zeros."""
    model = build_mar(small_config(kind, **change))
    model.reset_parameters(torch.Generator().manual_seed(3), zero_output=False)
    return model


def test_the_embedded_models_are_small_and_the_draft_is_a_quarter() -> None:
    sizes = {}
    for kind in KINDS:
        with torch.device("meta"):
            model = build_mar(mar_config(kind))
        sizes[kind] = sum(parameter.numel() for parameter in model.parameters())
    with torch.device("meta"):
        sizes["vae"] = sum(parameter.numel() for parameter in build_vae().parameters())
    assert 2 * sum(sizes.values()) <= 8_000_000
    assert sizes["draft"] <= sizes["causal"] / 4


def test_tables_and_outputs_are_no_hidden_matrices() -> None:
    model = build_mar(small_config("masked"))
    hidden = build_optimisers(model.named_parameters())[1].param_groups[0]["params"]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(parameter)] for parameter in hidden}
    assert "encoder_blocks.0.attn.qkv.weight" in found
    assert "diffloss.net.res_blocks.0.mlp.0.weight" in found
    for word in ("class_emb", "fake_latent", "final_layer.linear", "pos_embed", "mask_token"):
        assert not [name for name in found if word in name], word


def test_hidden_tokens_have_the_truncated_normal_share() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.stack([hidden_tokens(3, 64, generator) for _ in range(4000)])
    counts = masks.sum(-1)
    assert (counts == counts[:, :1]).all()  # one share for the batch
    shares = counts[:, 0] / 64
    assert shares.min() >= 0.7
    law = truncnorm((0.7 - 1) / 0.25, 0, loc=1, scale=0.25)
    # Shares are rounded up to whole tokens.
    levels = np.arange(45, 65)
    wanted = law.cdf(levels / 64) - law.cdf((levels - 1) / 64)
    found = np.bincount(counts[:, 0].numpy(), minlength=65)[45:]
    assert chisquare(found, wanted / wanted.sum() * 4000).pvalue > 1e-3
    even = np.full(20, 200.0)
    assert chisquare(found, even).pvalue < 1e-6  # a uniform share is told apart
    # Every place is hidden equally often, and rows differ.
    assert float(masks.float().mean((0, 1)).std()) < 0.01
    assert not torch.equal(masks[:, 0], masks[:, 1])


def test_a_masked_model_is_asked_for_what_it_does_not_see() -> None:
    model, batch = build_mar(small_config("masked")), some_batch()
    asked = ask(model, batch, torch.Generator().manual_seed(0))
    assert asked.unknown is not None
    assert len(asked.tokens) == len(asked.conditions) == int(asked.unknown.sum())
    changed = LatentBatch(
        torch.where(asked.unknown.unsqueeze(-1), 9.0, batch.tokens), batch.labels, batch.drop
    )
    again = ask(model, changed, torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.conditions, asked.conditions)
    assert (again.tokens == 9.0).all()


def test_a_causal_model_is_asked_for_every_token() -> None:
    model, batch = trained("causal"), some_batch()
    asked = ask(model, batch, torch.Generator())
    wanted = model.training_conditions(batch.tokens, batch.labels, batch.drop)
    assert torch.equal(asked.conditions, wanted.flatten(0, 1))
    assert torch.equal(asked.tokens, batch.tokens.flatten(0, 1))


def test_every_token_is_learned_at_several_noise_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch, seen = trained("causal"), some_batch(), []
    loss_of = mar_trainee.diffusion_loss

    def spy(head, tokens, condition, noise, timesteps, base_steps):  # type: ignore[no-untyped-def]
        seen.append((tokens, condition.vectors, timesteps))
        return loss_of(head, tokens, condition, noise, timesteps, base_steps)

    monkeypatch.setattr(mar_trainee, "diffusion_loss", spy)
    loss = mar_loss(model, batch, 5)
    ((tokens, vectors, timesteps),) = seen
    assert torch.equal(tokens.view(DRAWS, 4, 6, 4), batch.tokens.expand(DRAWS, -1, -1, -1))
    wanted = model.training_conditions(batch.tokens, batch.labels, batch.drop)
    assert torch.equal(vectors.view(DRAWS, 4, 6, 16), wanted.expand(DRAWS, -1, -1, -1))
    assert len(timesteps.unique()) > 80
    torch.manual_seed(7)
    assert torch.equal(loss, mar_loss(model, batch, 5))
    assert not torch.equal(loss, mar_loss(model, batch, 6))


def test_a_teacher_adds_its_distance_and_a_draft_that_is_the_teacher_pays_nothing() -> None:
    teacher, draft, batch = trained("causal"), trained("draft"), some_batch()
    alone, taught = mar_loss(draft, batch, 1), mar_loss(draft, batch, 1, teacher)
    assert taught > alone + 0.01
    torch.testing.assert_close(mar_loss(teacher, batch, 1, teacher), mar_loss(teacher, batch, 1))
    taught.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert draft.z_proj.weight.grad is not None


def test_a_taught_draft_is_closer_to_its_teacher_than_one_that_learned_alone() -> None:
    teacher, batch = trained("causal"), some_batch(64, seed=99)

    def gap(told: CausalMAR | None) -> float:
        torch.manual_seed(0)
        draft = build_mar(small_config("draft"))
        optimiser = torch.optim.Adam(draft.parameters(), lr=5e-3)
        for step in range(30):
            mar_loss(draft, some_batch(16, seed=step), step, told).backward()
            optimiser.step()
            optimiser.zero_grad()
        with torch.no_grad():
            return float(mar_loss(draft, batch, 0, teacher) - mar_loss(draft, batch, 0))

    assert gap(teacher) < 0.8 * gap(None)


def test_the_average_follows_the_weights_and_lives_in_the_checkpoint() -> None:
    trainee = Trainee(small_config("draft"), decay=0.9)
    trainee.update_average()
    weight, averaged = trainee.model.z_proj.weight, trainee.averaged.z_proj.weight
    assert torch.equal(weight, averaged)
    wanted = averaged.clone()
    for count in range(1, 120):
        with torch.no_grad():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(count)))
        share = 1 - min(0.9, (1 + count) / (10 + count))
        wanted = wanted + share * (weight.detach() - wanted)
        trainee.update_average()
    torch.testing.assert_close(trainee.averaged.z_proj.weight, wanted)
    learning = {name for name, weight in trainee.named_parameters() if weight.requires_grad}
    assert not [name for name in learning if name.startswith("average")]
    other = Trainee(small_config("draft"), decay=0.9)
    other.load_state_dict(trainee.state_dict())
    assert torch.equal(other.averaged.z_proj.weight, trainee.averaged.z_proj.weight)


def test_batches_depend_on_their_step_and_draw_latents_anew() -> None:
    rng = np.random.default_rng(0)
    moments = np.stack([rng.normal(size=(5, 64, 16)), np.full((5, 64, 16), 0.5)], 1)
    data = LatentData(moments.astype(np.float16), torch.arange(5))
    first, again, later = (data.batch(step, 5, 0.3) for step in (0, 0, 1))
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.labels, later.labels)
    mean = torch.from_numpy(data.moments[:, 0]).float()
    errors = [(batch.tokens - mean) / 0.5 for batch in (first, later)]
    for error in errors:
        assert float(error.std()) == pytest.approx(1.0, abs=0.03)
    assert abs(float((errors[0] * errors[1]).mean())) < 0.05
    drops = torch.cat([data.batch(step, 5, 0.3).drop for step in range(400)])
    assert float(drops.float().mean()) == pytest.approx(0.3, abs=0.04)


@pytest.fixture
def tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shrink(monkeypatch)
    torch.manual_seed(0)
    folder = tmp_path / "mar" / "vae"
    save_vae(plain_vae(build_vae(), 0.8), folder, torch.bfloat16)
    return folder


def test_latents_are_made_once_and_go_on_after_a_kill(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stored_latents(tokenizer, tmp_path / "latents", 5)
    assert data.moments.shape == (5, 2, 64, 16)
    (path,) = (tmp_path / "latents").iterdir()
    whole = np.array(data.moments)
    del data
    path.write_bytes(path.read_bytes()[: 3 * 4096 + 7])
    assert np.array_equal(stored_latents(tokenizer, tmp_path / "latents", 5).moments, whole)
    unseen = stored_latents(tokenizer, tmp_path / "latents", 5, held_out=True)
    assert not np.array_equal(unseen.moments, whole)

    def refuse(path: Path) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(store, "load_vae", refuse)
    fewer = stored_latents(tokenizer, tmp_path / "latents", 4)
    assert np.array_equal(fewer.moments, whole[:4])


def test_trainings_write_folders_that_draw_pictures(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_mar, "HELD_OUT_PICTURES", 2)
    given = ["--work", str(tmp_path / "work"), "--latents", str(tmp_path / "latents")]
    given += ["--vae", str(tokenizer), "--pictures", "4", "--rows", "2"]
    given += ["--threads", str(torch.get_num_threads())]
    two, four = ["--steps", "2", "1"], ["--steps", "2", "1", "1", "2", "--drawings", "2"]
    monkeypatch.setattr(train_mar, "END_PICTURES", 2)
    monkeypatch.setattr(train_mar, "END_ROWS", 2)
    target = tmp_path / "mar"
    train_mar.main(["causal", "--out", str(target), *given, *two])
    draft, teacher = tmp_path / "mar-draft", ["--teacher", str(target)]
    train_mar.main(["draft", "--out", str(draft), *given, *teacher, *four])
    train_mar.main(["masked", "--out", str(tmp_path / "mar-masked"), *given, *two])
    config = json.loads((draft / "config.json").read_text())
    assert config["vae"] == "../mar/vae"
    assert config["model_type"] == "mar"
    assert config["classes"][8] == "orange triangle"
    assert json.loads((target / "config.json").read_text())["vae"] == "vae"
    assert load_mar(draft / "model").dtype == torch.bfloat16
    card = (draft / "README.md").read_text()
    assert "--teacher" in card
    assert "| draft-learn | 2 |" in card
    assert "| draft-ends | 1 |" in card
    assert "| draft-drawn | 2 |" in card
    assert f"{json.loads((draft / 'scores.json').read_text())['within_one']:.1%} within 1" in card
    assert config["defaults"]["num_inference_steps"] == ends.DRAFT_STEPS
    assert "--teacher" not in (tmp_path / "mar-masked" / "README.md").read_text()
    model = load_target(target, dtype=torch.float32)
    pictures = evaluate.draw(model, [0, 47, 3], 2.0, 2, rows=2)
    assert pictures.shape == (3, 3, 64, 64)
    # A picture depends on its number and class, not on its batch.
    alone = evaluate.draw(model, [0], 2.0, 2)
    torch.testing.assert_close(alone[0], pictures[0], atol=1e-4, rtol=1e-4)
    assert load_target(tmp_path / "mar-masked").classes == CLASS_NAMES


def test_the_target_draws_once_and_goes_on_after_a_kill(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_mar(mar_config("causal"))
    model.reset_parameters(torch.Generator().manual_seed(3), zero_output=False)
    folder, work = tmp_path / "mar", tmp_path / "latents"
    train_mar.save_model("causal", model, tokenizer, folder)
    target = load_target(folder, dtype=torch.float32)
    target.defaults = replace(target.defaults, num_inference_steps=2)
    monkeypatch.setattr(drawings, "_ROWS", 2)
    data = drawings.stored_drawings(target, folder, work, 5)
    assert data.labels.tolist() == [0, 1, 2, 3, 4]
    batch = data.batch(0, 5, 0.0)
    request = target.request(None, [3], target.parameters({}))
    alone, _ = Engine(target, rule=Own()).generate(request, seeds=[drawings.FIRST_SEED + 3])
    torch.testing.assert_close(batch.tokens[3], torch.tensor(alone[0]), atol=5e-3, rtol=5e-3)
    whole = np.array(data.moments)
    del data
    (path,) = work.iterdir()
    path.write_bytes(path.read_bytes()[: 2 * 2048 + 7])
    again = drawings.stored_drawings(target, folder, work, 5).moments
    np.testing.assert_allclose(again, whole, atol=5e-3)
    unseen = drawings.stored_drawings(target, folder, work, 5, held_out=True)
    assert not np.allclose(unseen.moments, whole, atol=0.1)


def test_steps_take_turns_with_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def source(value: float) -> LatentData:
        moments = np.full((64, 2, 6, 4), value, np.float16)
        moments[:, 1] = 0
        return LatentData(moments, torch.arange(64) % 3)

    seen: list[tuple[float, int]] = []

    def note(draft: object, target: object, batch: LatentBatch, step: int) -> torch.Tensor:
        seen.append((float(batch.tokens.mean()), int(batch.labels[0])))
        return torch.zeros(())

    monkeypatch.setattr(train_mar, "ends_loss", note)
    trainee = Trainee(small_config("draft"), decay=0.9)
    loss = train_mar.chain_loss(trainee, [source(1), source(2)], trained("causal"))
    for step in range(4):
        loss(step)
    # Sixteen pictures a step: the second batch of either begins with class 16 % 3.
    assert seen == [(1, 0), (2, 0), (1, 1), (2, 1)]


def test_a_killed_training_ends_as_an_unbroken_one(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_mar, "HELD_OUT_PICTURES", 2)
    stages = tuple(Stage(n, steps=3, rate=1e-3, save_every=1) for n in ("one", "two"))
    monkeypatch.setitem(train_mar.STAGES, "causal", stages)
    given = ["--latents", str(tmp_path / "latents"), "--vae", str(tokenizer), "--rows", "2"]
    given += ["--pictures", "6", "--threads", str(torch.get_num_threads())]

    def run(name: str) -> dict[str, torch.Tensor]:
        out = tmp_path / name
        train_mar.main(["causal", "--out", str(out), "--work", str(tmp_path / f"w{name}"), *given])
        return load_mar(out / "model").state_dict()

    whole = run("whole")
    loss = train_mar.mar_loss
    steps = []

    def dies(*parts):  # type: ignore[no-untyped-def]
        steps.append(parts)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return loss(*parts)

    monkeypatch.setattr(train_mar, "mar_loss", dies)
    with pytest.raises(KeyboardInterrupt):
        run("broken")
    broken = run("broken")
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_scores_go_where_the_card_looks_for_them(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(train_mar, "HELD_OUT_PICTURES", 2)
    out, work = tmp_path / "mar", tmp_path / "work"
    given = ["--work", str(work), "--latents", str(tmp_path / "latents"), "--threads", "1"]
    given += ["--vae", str(tokenizer), "--pictures", "4", "--rows", "2", "--steps", "1", "1"]
    train_mar.main(["causal", "--out", str(out), *given])
    assert "Not measured yet." in (out / "README.md").read_text()
    words = ["--model", str(out), "--out", str(out / "scores.json"), "--pictures", "2"]
    evaluate.main([*words, "--scales", "1", "--steps", "2", "--threads", "1"])
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scores == json.loads((out / "scores.json").read_text())
    assert set(scores) == {"true pictures", "scale 1, 2 steps", "counts"}
    train_mar.main(["causal", "--out", str(out), *given])
    assert "| scale 1, 2 steps |" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["masked", "--teacher", "here"], "--teacher is for drafts"),
        (["draft"], "give --teacher"),
        (["draft", "--teacher", "here", "--steps", "1", "1"], "draft-ends"),
    ],
)
def test_wrong_words_are_refused_before_work(words: list[str], fix: str, capsys) -> None:
    with pytest.raises(SystemExit):
        train_mar.main([*words, "--out", "nowhere"])
    assert fix in capsys.readouterr().err


def test_ends_are_nought_apart_for_one_model_and_move_the_draft_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, draft, batch = trained("causal"), trained("draft"), some_batch()
    monkeypatch.setattr(ends, "TARGET_STEPS", 6)
    monkeypatch.setattr(ends, "DRAFT_STEPS", 6)
    assert ends.ends_loss(target, target, batch, 0).item() == 0
    monkeypatch.setattr(ends, "DRAFT_STEPS", 3)
    assert ends.ends_loss(target, target, batch, 0).item() > 0
    for parameter in target.parameters():
        parameter.requires_grad_(True)
    ends.ends_loss(draft, target, batch, 0).backward()
    assert all(parameter.grad is None for parameter in target.parameters())
    first = float(ends.ends_loss(draft, target, batch, 0))
    steps = build_optimisers(draft.named_parameters())
    for _ in range(12):
        for optimiser in steps:
            optimiser.zero_grad()
        ends.ends_loss(draft, target, batch, 0).backward()
        for optimiser in steps:
            optimiser.step()
    assert float(ends.ends_loss(draft, target, batch, 0)) < 0.9 * first


def test_noise_levels_count_as_errors_of_the_velocity_do() -> None:
    """The velocity's error is the noise's over the root of the signal, whatever was predicted."""
    weights = mar_trainee.noise_weights(1000)
    level = DiffusionProcess(1000, 1000).alphas_cumprod
    clean, noise, wrong = torch.randn(3, 1000, 4, dtype=torch.float64).unbind()
    state = level.sqrt()[:, None] * clean + (1 - level).sqrt()[:, None] * noise
    implied = (state - (1 - level).sqrt()[:, None] * wrong) / level.sqrt()[:, None]
    velocity = level.sqrt()[:, None] * noise - (1 - level).sqrt()[:, None] * clean
    found = level.sqrt()[:, None] * wrong - (1 - level).sqrt()[:, None] * implied
    ratio = (found - velocity).square() / (wrong - noise).square()
    free = 1 / level < mar_trainee.MOST_WEIGHT
    assert 500 < free.sum() < 1000
    assert torch.allclose(ratio[free], weights[free, None].double(), rtol=1e-4)
    assert weights.max() == mar_trainee.MOST_WEIGHT


def test_flat_background_is_told_from_things() -> None:
    tokens = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0)) * 0.2 + 1.0
    tokens[0, 5] += 2.0
    flat = mar_trainee.flat_tokens(tokens)
    assert not flat[0, 5]
    assert flat.sum() == 2 * 64 - 1


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_the_lesson_asks_told_rows_for_their_class(kind: str) -> None:
    trainee = Trainee(small_config(kind), decay=0.9)
    batch = some_batch()
    loss = mar_loss(trainee.model, batch, seed=1, lesson=trainee.class_head)
    loss.backward()
    assert trainee.class_head.weight.grad is not None
    assert trainee.class_head.weight.grad.abs().sum() > 0
    before = mar_loss(trainee.model, batch, seed=1, lesson=trainee.class_head)
    # The row without a class is not asked: another label for it changes nothing.
    labels = batch.labels.clone()
    labels[1] = (labels[1] + 1) % 3
    other = LatentBatch(batch.tokens, labels, batch.drop)
    assert torch.equal(mar_loss(trainee.model, other, seed=1, lesson=trainee.class_head), before)
