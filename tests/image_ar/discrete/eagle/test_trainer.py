"""The training of image drafters: it learns, goes on where it stopped, and says what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.llamagen.config import CLASSES
from image_ar.discrete.drawings import own_drawings
from image_ar.discrete.eagle import trainer as module
from image_ar.discrete.eagle.drafter import ImageEagleDrafter
from image_ar.discrete.eagle.network import ImageEagle
from image_ar.discrete.eagle.recipe import Recipe, config_for
from image_ar.discrete.eagle.storage import load
from image_ar.discrete.eagle.trainer import FINISHED, Trainer, train
from mmspec.engine import Engine
from mmspec.pipelines.image_options import Subject
from tests.adapters.llamagen.test_llamagen_loading import target_of

RECIPE = Recipe(
    steps=6, batch=4, rate=1e-2, warmup=2, depth=2, dropped=0.3, held_out=3, save_every=2
)
SUBJECTS = [Subject(class_id=place % 5) for place in range(19)]


@pytest.fixture(scope="module")
def target() -> Any:
    return target_of(CLASSES)


@pytest.fixture(scope="module")
def tokens(target: Any, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    store = tmp_path_factory.mktemp("drawn") / "drawn.jsonl"
    return own_drawings(Engine(target), SUBJECTS, store, batch=19, progress=False)


def fresh(target: Any) -> ImageEagle:
    network = ImageEagle(config_for(target, 2, 48))
    network.reset_parameters(torch.Generator().manual_seed(0))
    return network


def run(target: Any, tokens: Tensor, out: Path, recipe: Recipe = RECIPE) -> ImageEagle:
    network = fresh(target)
    train(target, SUBJECTS, tokens, network, out, recipe, name="small", progress=False)
    return network


def test_a_killed_run_ends_like_one_that_was_not(
    target: Any, tokens: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(target, tokens, tmp_path / "whole")
    step = Trainer._step

    def killed(self: Trainer, number: int) -> Any:
        if number == 5:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as kill:
        kill.setattr(Trainer, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            run(target, tokens, tmp_path / "parts")
    parts = run(target, tokens, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], value)
    logs = [
        [json.loads(line) for line in (tmp_path / one / "log.jsonl").read_text().splitlines()]
        for one in ("whole", "parts")
    ]
    for rows in logs:
        assert [row.pop("seconds", None) is None for row in rows] == [False, True]
    assert logs[0] == logs[1]
    again = run(target, tokens, tmp_path / "whole")  # nothing is left to do
    assert torch.equal(again.fc.weight, whole.fc.weight)


def test_what_is_left_can_be_used_and_read(target: Any, tokens: Tensor, tmp_path: Path) -> None:
    network = run(target, tokens, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*FINISHED, "checkpoint.pt", "log.jsonl"}
    found = load(tmp_path)
    assert found.config == network.config
    torch.testing.assert_close(found.fc.weight, network.fc.weight, atol=0.02, rtol=0.01)
    ImageEagleDrafter(found, target)
    card = (tmp_path / "README.md").read_text()
    measured = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["held_out"]
    assert "image tokens of small" in card
    assert " | ".join(f"{value:.3f}" for value in measured) in card
    expected = 1 + measured[0] + measured[0] * measured[1]
    assert f"**{expected:.2f} tokens a target pass**" in card
    assert "| dropped | 0.3 |" in card
    assert "16 pictures" in card
    assert not any(one.requires_grad for one in network.parameters())


def test_it_learns(target: Any, tokens: Tensor, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=60, batch=8, dropped=0.1, save_every=60)
    before = Trainer(target, SUBJECTS, tokens, fresh(target), tmp_path / "none", recipe).measure()
    grads = [one.grad for one in target.decoder.model.parameters()]
    network = run(target, tokens, tmp_path, recipe)
    after = Trainer(target, SUBJECTS, tokens, network, tmp_path / "none", recipe).measure()
    assert len(after) == recipe.depth
    for start, end in zip(before, after, strict=True):
        assert end > start + 0.05
    assert grads == [one.grad for one in target.decoder.model.parameters()]


def test_a_share_of_pictures_loses_its_condition(
    target: Any, tokens: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[bool] = []
    read = module.read

    def spy(who: Any, inputs: Any, some: Tensor, unconditional: bool) -> Any:
        sides.extend([unconditional] * len(some))
        return read(who, inputs, some, unconditional)

    monkeypatch.setattr(module, "read", spy)
    recipe = replace(RECIPE, steps=12, save_every=12, measure_every=100)
    run(target, tokens, tmp_path, recipe)
    learned = sides[: 12 * recipe.batch]
    assert 0.15 < sum(learned) / len(learned) < 0.45
    assert not any(sides[12 * recipe.batch :])  # measured with the condition
    sides.clear()
    run(target, tokens, tmp_path / "all", replace(recipe, dropped=0.0))
    assert not any(sides)


def test_every_epoch_has_another_order(target: Any, tokens: Tensor, tmp_path: Path) -> None:
    made = Trainer(target, SUBJECTS, tokens, fresh(target), tmp_path, RECIPE)
    epochs = [[place for step in range(4) for place in made._places(4 * e + step)] for e in (0, 1)]
    for order in epochs:
        assert sorted(order) == list(range(16))  # none of those held out
    assert epochs[0] != epochs[1]


def test_refusals(target: Any, tokens: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="19 pictures are given and 19 are held out"):
        run(target, tokens, tmp_path, replace(RECIPE, held_out=19))
    run(target, tokens, tmp_path, replace(RECIPE, steps=2))
    with pytest.raises(ValueError, match="was trained with other steps, rate"):
        run(target, tokens, tmp_path, replace(RECIPE, rate=1e-3))
    with pytest.raises(ValueError, match="was trained with other pictures"):
        run(target, tokens.flip(0), tmp_path, replace(RECIPE, steps=2))
    words = [Subject(prompt="a cat")] * len(SUBJECTS)
    with pytest.raises(ValueError, match="draws classes, not prompts"):
        train(target, words, tokens, fresh(target), tmp_path / "x", RECIPE, progress=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"rate": 0.0}, "rate must be above 0"),
        ({"dropped": 1.0}, "dropped must be 0 or above and below 1"),
    ],
)
def test_recipes_are_checked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe(**options)


def test_the_rate_warms_up_and_ends_at_nothing() -> None:
    recipe = Recipe(steps=100, rate=1.0, warmup=10)
    assert [recipe.rate_at(step) for step in (0, 9, 49)] == [0.1, 1.0, 1.0]
    assert recipe.rate_at(75) == pytest.approx(0.5)
    assert recipe.rate_at(99) == pytest.approx(0.02)
