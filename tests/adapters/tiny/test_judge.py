"""The judge: crops, readings, artefacts that keep the truth, errors, saving and loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from adapters.tiny.images import judge as judging
from adapters.tiny.images import wear
from adapters.tiny.images.judge import (
    ATTRIBUTES,
    CELLS,
    CROP,
    Judge,
    JudgeConfig,
    Readings,
    crop_cells,
    load_judge,
    save_judge,
    see,
)
from adapters.tiny.images.pictures import CELL, picture
from adapters.tiny.images.train_judge import (
    draw,
    judge_accuracy,
    judge_batch,
    judge_loss,
    judge_scene,
    score_judge,
)
from adapters.tiny.world.render import PALETTE, TONES
from adapters.tiny.world.scene import HELD_OUT
from adapters.tiny.world.vocabulary import BACKGROUNDS


@pytest.fixture(scope="module")
def tiny() -> Judge:
    torch.manual_seed(0)
    return Judge(JudgeConfig(options={"channels": [8, 8, 8, 8], "stem_width": 4})).eval()


def answers(scenes) -> Readings:
    """Readings that name the truth with large logits."""
    empty = torch.full((len(scenes), CELLS), 20.0)
    attributes = {n: torch.zeros(len(scenes), CELLS, len(v)) for n, v in ATTRIBUTES.items()}
    background = torch.zeros(len(scenes), len(BACKGROUNDS))
    for row, scene in enumerate(scenes):
        background[row, BACKGROUNDS.index(scene.background)] = 20
        for thing in scene.things:
            empty[row, thing.cell] = -20
            for name, values in ATTRIBUTES.items():
                attributes[name][row, thing.cell, values.index(getattr(thing, name))] = 20
    return Readings(empty, attributes, background)


class Oracle(Judge):
    """Knows the scenes that it is asked about, in order."""

    def __init__(self, scenes) -> None:
        super().__init__(JudgeConfig(options={"channels": [8, 8, 8, 8], "stem_width": 4}))
        self.scenes = list(scenes)

    def forward(self, pixels: torch.Tensor) -> Readings:
        known, self.scenes = self.scenes[: len(pixels)], self.scenes[len(pixels) :]
        return answers(known)


def test_crops_are_the_cells_with_what_is_around_them() -> None:
    pixels = torch.arange(2 * 3 * 64 * 64, dtype=torch.float32).view(2, 3, 64, 64)
    crops = crop_cells(pixels)
    assert crops.shape == (2, CELLS, 3, CROP, CROP)
    for cell in range(CELLS):
        top, left = cell // 3 * CELL, cell % 3 * CELL
        expected = pixels[:, :, top : top + CROP, left : left + CROP]
        assert torch.equal(crops[:, cell], expected)


def test_readings_have_the_stated_shapes_and_rows_do_not_mix(tiny: Judge) -> None:
    pixels = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        readings, alone = tiny(pixels), tiny(pixels[1:2])
    assert readings.empty.shape == (3, CELLS)
    assert readings.background.shape == (3, len(BACKGROUNDS))
    shapes = {name: tuple(logits.shape) for name, logits in readings.attributes.items()}
    assert shapes == {name: (3, CELLS, len(values)) for name, values in ATTRIBUTES.items()}
    torch.testing.assert_close(readings.empty[1:2], alone.empty)
    torch.testing.assert_close(readings.background[1:2], alone.background)


def test_seen_is_what_the_logits_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_BATCH", 4)
    scenes = [judge_scene(seed) for seed in range(10)]
    seen = see(Oracle(scenes), [picture(scene) for scene in scenes])
    assert [one.scene for one in seen] == scenes
    assert all(one.confidence > 0.999 and len(one.cells) == CELLS for one in seen)


def test_an_unsure_thing_is_a_thing_only_below_one_half() -> None:
    readings = answers([judge_scene(3)])
    readings.empty[:] = torch.linspace(-0.4, 0.4, CELLS)
    (seen,) = judging._decide(readings)
    assert [thing.cell for thing in seen.things] == [0, 1, 2, 3]
    assert all(cell <= 0.61 for cell in seen.cells)
    assert seen.confidence == min(seen.cells)


def test_no_picture_gives_no_reading(tiny: Judge) -> None:
    assert see(tiny, torch.zeros(0, 3, 64, 64)) == []
    with pytest.raises(ValueError, match="at least one picture"):
        see(tiny, [])


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(3, 64, 64), r"\(3, 64, 64\); resize them or add the batch"),
        (torch.zeros(1, 3, 32, 64), r"\(1, 3, 32, 64\)"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "uint8; divide bytes by 255"),
        (torch.full((1, 3, 64, 64), -1.0), r"\[0, 1\], got -1 to -1"),
        (torch.full((1, 3, 64, 64), float("nan")), "got nan"),
        ([Image.new("RGB", (64, 64)), Image.new("RGB", (96, 96))], "96 x 96 at index 1"),
    ],
)
def test_wrong_pictures_are_named(tiny: Judge, pixels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        see(tiny, pixels)


def test_saved_judge_reads_alike(tiny: Judge, tmp_path: Path) -> None:
    save_judge(tiny, tmp_path)
    loaded = load_judge(tmp_path)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(pixels).empty, tiny(pixels).empty, atol=0.05, rtol=0.05)
    assert not loaded.training
    assert loaded.backbone.conv1[0].weight.dtype == torch.float32


def test_folders_without_a_fitting_judge_are_refused(tiny: Judge, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train_judge"):
        load_judge(tmp_path)
    save_judge(tiny, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocabulary": {"shape": ["cube"]}}))
    with pytest.raises(ValueError, match="another vocabulary"):
        load_judge(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    with pytest.raises(ValueError, match="'llama', not a judge"):
        load_judge(tmp_path)


@pytest.mark.parametrize("name", wear.ARTEFACTS)
def test_artefacts_leave_the_picture_recognisable(name: str) -> None:
    pixels, _ = draw(0, 6)
    before = pixels.clone()
    worn = wear.ARTEFACTS[name](pixels, torch.Generator().manual_seed(1))
    again = wear.ARTEFACTS[name](pixels, torch.Generator().manual_seed(1))
    assert torch.equal(pixels, before)
    assert torch.equal(worn, again)
    assert worn.shape == pixels.shape
    assert worn.min() >= -1e-5
    assert worn.max() <= 1 + 1e-5
    assert 0 < (worn - pixels).abs().mean() < 0.06


def test_no_two_colours_become_one_where_pictures_are_posterised() -> None:
    for levels in range(16, 33):
        for colours in (PALETTE, TONES):
            rounded = {tuple(round(v / 255 * (levels - 1)) for v in c) for c in colours.values()}
            assert len(rounded) == len(colours)


def test_clean_pictures_stay_clean() -> None:
    pixels, _ = draw(0, 4)
    assert torch.equal(wear.wear(pixels, torch.Generator().manual_seed(0), clean=1.0), pixels)


def test_a_rolled_cell_is_the_cell_rolled() -> None:
    pixels = torch.rand(1, 3, 64, 64)
    offsets = torch.zeros(1, CELLS, 2, dtype=torch.long)
    offsets[0, 5] = torch.tensor([1, -7])
    moved = wear._rearrange(pixels, wear._rolled(offsets))
    expected = pixels.clone()
    block = pixels[:, :, 22:42, 42:62]
    expected[:, :, 22:42, 42:62] = block.roll((1, -7), (2, 3))
    assert torch.equal(moved, expected)


def test_broken_cells_keep_their_pixels_and_only_they_change() -> None:
    pixels = torch.rand(2, 3, 64, 64)
    result, broken = wear.break_things(pixels, torch.Generator().manual_seed(0), 0.5)
    before, after = (
        x[:, :, 2:-2, 2:-2].unfold(2, 20, 20).unfold(3, 20, 20) for x in (pixels, result)
    )
    before, after = (x.permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(3) for x in (before, after))
    assert torch.equal((before != after).any(-1).any(-1), broken)
    assert torch.equal(before.sort(-1).values, after.sort(-1).values)
    assert torch.equal(pixels[:, :, :2], result[:, :, :2])


def test_scenes_fill_every_cell_and_held_out_scenes_differ() -> None:
    scenes = [judge_scene(seed) for seed in range(200)]
    assert {len(scene.things) for scene in scenes} == set(range(CELLS + 1))
    assert judge_scene(5) != judge_scene(5, held_out=True)
    with pytest.raises(ValueError, match="seed must be"):
        judge_scene(HELD_OUT)


def test_loss_is_small_for_the_truth_and_takes_a_batch_of_empty_pictures() -> None:
    pixels, labels = draw(0, 8)
    assert judge_loss(answers([judge_scene(seed) for seed in range(8)]), labels) < 1e-3
    again, _ = judge_batch(2)
    assert torch.equal(again, judge_batch(2)[0])
    assert pixels.shape[1:] == again.shape[1:]
    nothing = next(seed for seed in range(100) if not judge_scene(seed).things)
    _, labels = draw(nothing, 1)
    assert judge_loss(answers([judge_scene(nothing)]), labels).isfinite()


def test_scores_are_one_for_an_oracle_and_low_for_an_untrained_judge(tiny: Judge) -> None:
    truth = [judge_scene(seed, held_out=True) for seed in range(30)]
    assert set(judge_accuracy(Oracle(truth), 30, batch=8).values()) == {1.0}
    assert judge_accuracy(tiny, 30)["picture"] < 0.2
    assert set(score_judge(tiny, 2)) == {"as drawn", *wear.ARTEFACTS, "several"}
