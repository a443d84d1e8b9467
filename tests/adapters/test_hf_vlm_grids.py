"""Grids of pictures and clips: as many cells as placeholders, in their order, never a guess."""

from __future__ import annotations

from itertools import groupby
from math import prod
from typing import Any

import pytest
import torch
import transformers as hf
from PIL import Image

from adapters.hf_vlm import HFTarget, inputs_from_generate
from adapters.hf_vlm.grids import visual_grids
from mmspec.token_target import Request
from tests.adapters import processors
from tests.adapters.families import BY_NAME, FAMILIES, IMAGE, VIDEO, VISION, model_of
from tests.adapters.prompts import batch_of, rows_of
from tests.adapters.references import target_of

CASES = [(family.name, kind) for family in FAMILIES for kind in family.kinds]
ANY_RESOLUTION = ("llava_next", "llava_onevision")  # tokens between tiles and at their line ends
PROCESSORS = {
    "gemma3": processors.gemma,
    "idefics3": processors.idefics,
    "internvl": processors.internvl,
    "llava": processors.llava,
    "qwen2_5_vl": processors.qwen,
    "qwen3_vl": processors.qwen3,
}
WIDE, HIGH = Image.new("RGB", (40, 16), (200, 10, 10)), Image.new("RGB", (16, 24), (10, 10, 200))
SQUARE = (1, 2, 2)


def runs(ids: list[int]) -> list[int]:
    """Lengths of the runs of placeholders."""
    groups = ((token, len(list(group))) for token, group in groupby(ids))
    return [length for token, length in groups if token in (IMAGE, VIDEO)]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_grid_has_as_many_cells_as_its_picture_has_placeholders(
    name: str, kind: str, side: str
) -> None:
    rows = rows_of(BY_NAME[name], kind, 3)
    grids = target_of(name).visual_grids(batch_of(BY_NAME[name], rows, side))
    for row, of_row in zip(rows, grids, strict=True):
        expected = runs(row.ids)  # here a word stands behind every picture
        if name in ANY_RESOLUTION:
            assert of_row == [None] * len(expected)
        else:
            assert [prod(grid) for grid in of_row] == expected


@pytest.mark.parametrize("name", [family.name for family in FAMILIES if family.image])
def test_rows_with_and_without_pictures_share_a_batch(name: str) -> None:
    family = BY_NAME[name]
    kinds = ["text", *family.kinds, "text"]
    rows = [rows_of(family, kind, 1, seed=7)[0] for kind in kinds]
    target = target_of(name)
    alone = [target.visual_grids(batch_of(family, [row]))[0] for row in rows]
    state, _ = target.prefill(Request(batch_of(family, rows)))
    assert target.visual_grids(state.prompt.inputs) == alone
    assert [bool(of_row) for of_row in alone] == [kind != "text" for kind in kinds]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_generate_hands_over_has_the_same_grids(name: str, kind: str) -> None:
    inputs = batch_of(BY_NAME[name], rows_of(BY_NAME[name], kind, 3))
    handed: dict[str, Any] = {}

    def loop(model: Any, input_ids: Any, **kwargs: Any) -> Any:
        handed.update(inputs_from_generate(model, input_ids, kwargs))
        return input_ids

    model_of(name).generate(**inputs, custom_generate=loop, max_new_tokens=1, pad_token_id=0)
    assert handed.keys().isdisjoint({"pixel_values", "image_grid_thw", "video_grid_thw"})
    assert target_of(name).visual_grids(handed) == target_of(name).visual_grids(inputs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemma3", [[SQUARE], [], [SQUARE] * 2]),
        ("idefics3", [[SQUARE], [], [SQUARE] * 2]),
        ("internvl", [[SQUARE] * 4, [], [SQUARE] * 7]),  # tiles, the last the whole picture
        ("llava", [[(1, 4, 4)], [], [(1, 4, 4)] * 2]),
        ("qwen2_5_vl", [[(1, 2, 5)], [], [(1, 3, 2), (1, 2, 5)]]),
        ("qwen3_vl", [[(1, 2, 5)], [], [(1, 3, 2), (1, 2, 5)]]),
    ],
)
def test_grids_of_prepared_pictures(name: str, expected: Any) -> None:
    target = HFTarget(model_of(name), PROCESSORS[name]())
    inputs = target.prepare([[WIDE], [], [HIGH, WIDE]], ["a cat", "it", "describe it"])
    assert target.visual_grids(inputs) == expected
    cells = [sum(map(prod, of_row)) for of_row in expected]
    assert (inputs["input_ids"] == IMAGE).sum(1).tolist() == cells


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("internvl", [SQUARE] * 3 + [SQUARE] * 4),
        ("qwen2_5_vl", [(1, 3, 2), (2, 2, 5)]),
        ("qwen3_vl", [(1, 3, 2), (1, 2, 5), (1, 2, 5)]),  # the time stands between the frames
    ],
)
def test_grids_of_a_clip_behind_a_picture(name: str, expected: Any) -> None:
    target = HFTarget(model_of(name), PROCESSORS[name]())
    inputs = target.prepare([[HIGH]], ["a cat"], videos=[[[WIDE] * 4]])
    assert target.visual_grids(inputs) == [expected]


def test_pictures_that_touch_are_told_apart() -> None:
    target = HFTarget(model_of("llava"), processors.llava(chat=False))
    inputs = target.prepare([[WIDE, HIGH]], ["a cat"])
    assert runs(inputs["input_ids"][0].tolist()) == [32]
    assert target.visual_grids(inputs) == [[(1, 4, 4)] * 2]


def row(*tokens: int, **others: Any) -> dict[str, Any]:
    return {"input_ids": torch.tensor([tokens]), **others}


@pytest.mark.parametrize(
    ("tower", "strategy", "grid"),
    [
        (hf.CLIPVisionConfig, "default", (1, 4, 4)),
        (hf.CLIPVisionConfig, "full", None),  # the class token is left in
        (hf.SiglipVisionConfig, "full", (1, 4, 4)),
        (hf.SiglipVisionConfig, "default", None),  # a patch is taken for a class token
        (hf.PixtralVisionConfig, "full", None),  # any resolution
    ],
)
def test_llava_knows_the_grids_of_towers_it_knows(tower: Any, strategy: str, grid: Any) -> None:
    config = hf.LlavaConfig(
        vision_config=tower(**VISION),
        image_token_index=IMAGE,
        vision_feature_select_strategy=strategy,
    )
    assert visual_grids(config, row(5, *[IMAGE] * 16, 6)) == [[grid]]


def test_placeholders_that_are_no_whole_picture_have_no_grid() -> None:
    config = model_of("llava").config
    assert visual_grids(config, row(*[IMAGE] * 15, 5, *[IMAGE] * 16)) == [[None, (1, 4, 4)]]


def test_padding_is_no_picture() -> None:
    mask = torch.tensor([[0] * 16 + [1] * 17])
    inputs = row(*[IMAGE] * 16, 5, *[IMAGE] * 16, attention_mask=mask)
    assert visual_grids(model_of("llava").config, inputs) == [[(1, 4, 4)]]


SIZES = torch.tensor([[1, 4, 6], [1, 2, 4], [1, 4, 4]])  # in patches, of which a token has 2 x 2
PLACES = torch.tensor(
    [[0, 1, 1, 1, 1, 1, 1, 4], [0, 1, 1, 1, 2, 2, 2, 4], [0, 1, 2, 3, 1, 2, 3, 4]]
)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_sizes_that_do_not_fit_the_placeholders_are_not_used(name: str) -> None:
    config = model_of(name).config
    fits = row(*[IMAGE] * 8, 5, *[IMAGE] * 4, image_grid_thw=SIZES)
    assert visual_grids(config, fits) == [[(1, 2, 3), (1, 1, 2), (1, 2, 2)]]
    off = row(*[IMAGE] * 6, 5, *[IMAGE] * 3, 6, *[IMAGE] * 3, image_grid_thw=SIZES)
    assert visual_grids(config, off) == [[(1, 2, 3), None, None]]
    more = row(*[IMAGE] * 8, 5, *[IMAGE] * 4, 6, *[IMAGE] * 4, image_grid_thw=SIZES)
    assert visual_grids(config, more) == [[(1, 2, 3), (1, 1, 2), (1, 2, 2), None]]


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_positions_tell_a_grid_only_where_they_are_one(name: str) -> None:
    config = model_of(name).config
    inputs = row(5, *[IMAGE] * 6, 6)
    assert visual_grids(config, inputs) == [[None]]
    places = PLACES.unsqueeze(1)
    assert visual_grids(config, {**inputs, "position_ids": places}) == [[(1, 2, 3)]]
    for column in range(1, 7):
        moved = places.clone()
        moved[1, 0, column] += 1
        assert visual_grids(config, {**inputs, "position_ids": moved}) == [[None]]
