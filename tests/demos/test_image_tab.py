"""The image tab: pictures in the making, clocks of runs that take turns, the knob, the page."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demos.drawing import Easel, cells_of, decode, draw, tinted, without_unknown
from demos.image import build_demo
from demos.image_race import Order, Shown, Studio, run
from demos.image_view import units_of
from demos.painter import FIDELITIES, classes_of, fidelity_options, methods_for
from demos.racing import Runner, race
from demos.serving import Machine
from demos.settings import Settings
from mmspec import catalog, pipeline
from mmspec.commands.demo import add_arguments
from mmspec.pipelines.image import ImagePipeline
from mmspec.pipelines.image_options import ImageOptions, Subject
from mmspec.trace import UnitRecord
from tests.core.image_target import HERE, ROWS, ToyImages
from tests.core.image_target import given as loaded
from tests.demos.browser import SECONDS, visit

STAR = Subject(prompt="a star")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "METHODS", ROWS)
    monkeypatch.setattr(catalog, "IMAGE_LOADER", f"{HERE}:load")


def toy(method: str = "scd") -> ImagePipeline:
    made: ImagePipeline = pipeline("image", ToyImages(), method=method)
    return made


def easels(pipe: ImagePipeline, seed: int = 3) -> list[Easel]:
    request = pipe.request([STAR], pipe.parameters(ImageOptions()))
    sides = (("plain", pipe.plain), (pipe.method.name, pipe.engine))
    return [Easel(Runner(name, one, request, seed), pipe.target) for name, one in sides]


def reported(studio: Studio, order: Order) -> list[Shown]:
    found: list[Shown] = []
    run(studio, order, found.append)
    return found


@pytest.mark.usefixtures("toys")
def test_the_least_used_clock_goes_next() -> None:
    runners = [easel.runner for easel in easels(toy())]
    before = [0.0, 0.0]
    for runner, _ in race(runners):
        number = runners.index(runner)
        other = runners[1 - number]
        assert before[number] <= before[1 - number] or other.finished
        before = [one.seconds for one in runners]
    assert all(one.finished for one in runners)


@pytest.mark.usefixtures("toys")
def test_watching_is_not_on_the_clock() -> None:
    pair, watched = easels(toy()), 0.0
    start = time.perf_counter()
    for _ in draw(pair, 0.0):
        pause = time.perf_counter()
        time.sleep(0.02)
        watched += time.perf_counter() - pause
    whole = time.perf_counter() - start
    seconds = [easel.runner.seconds for easel in pair]
    assert watched > 0.1
    assert sum(seconds) < whole - watched
    assert [easel.runner.trace.metrics.seconds for easel in pair] == seconds
    assert pair[0].runner.trace.metrics.target_forwards == 20


@pytest.mark.usefixtures("toys")
def test_taking_turns_changes_no_picture() -> None:
    pipe = toy()
    pair = easels(pipe, seed=5)
    for _ in draw(pair, 0.0):
        pass
    want = pipe("a star", seed=5)
    for easel in pair:
        assert units_of(easel) == want.tokens[0]
        assert easel.image is not None
        assert easel.image.tobytes() == want.images[0].tobytes()


@pytest.mark.usefixtures("toys")
def test_known_cells_are_final_and_unknown_ones_transparent() -> None:
    easel = easels(toy("none"), seed=2)[0]
    shown = []
    for _ in draw([easel], 0.0):
        assert easel.image is not None
        part = without_unknown(easel.image, easel.cells, easel.grid)
        shown.append((easel.drawn, np.asarray(part.convert("RGBA"))))
    final = shown[-1][1]
    assert [drawn for drawn, _ in shown] == sorted(drawn for drawn, _ in shown)
    assert len(shown) > 5
    for drawn, pixels in shown:
        known = pixels[..., 3] > 0
        assert known.sum() == drawn * 16  # cells of 4 x 4 pixels
        assert (pixels[known] == final[known]).all()


@pytest.mark.usefixtures("toys")
def test_a_closed_race_ends_its_runs() -> None:
    pair = easels(toy())
    steps = draw(pair, 0.0)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert all(easel.runner.finished for easel in pair)
    assert sum(len(easel.runner.trace.units[0]) for easel in pair if easel.runner.trace.units) < 40


def test_cells_go_where_they_belong_whatever_the_order() -> None:
    records = [UnitRecord(unit, "target", None, 0, place) for unit, place in ((7, 4), (5, 0))]
    cells = cells_of(records, [0, 1, 4])
    assert [cell and cell.unit for cell in cells] == [5, None, 7]
    target = ToyImages()
    target.grid = type(target.grid)(1, 3)
    image = decode(target, cells)
    assert image is not None
    assert decode(target, [None] * 3) is None
    assert tinted(image, cells, (1, 3)).size[0] >= 512
    assert without_unknown(image, cells, (1, 3)).getpixel((4, 0))[3] == 0


@pytest.mark.usefixtures("toys")
def test_a_run_reports_what_the_pipeline_draws() -> None:
    studio = Studio(Settings("toy"))
    assert studio.methods("toy") == ["scd", "loose"]
    shown = reported(studio, Order("toy", STAR, temperature=0.0, seed=1))
    assert [one.status != "" for one in shown[:2]] == [True, True]
    assert "identical to plain, cell for cell" in shown[-1].results
    assert "× the speed of plain" in shown[-1].results
    left, right = shown[-1].pair
    assert left.tobytes() == right.tobytes()
    alone = reported(studio, Order("toy", STAR, temperature=0.0, seed=1, beside=False))
    assert alone[-1].pair is None
    assert "plain" not in alone[-1].results
    assert alone[-1].stage.count("drawn by") == 1


@pytest.mark.usefixtures("toys")
def test_titles_and_errors_are_words() -> None:
    studio = Studio(Settings("<b>missing"))
    with pytest.raises(ValueError, match="there is no such folder"):
        reported(studio, Order("<b>missing", STAR))
    with pytest.raises(ValueError, match="draft length must be between 1 and 63"):
        Order("toy", STAR, length=0).options()
    with pytest.raises(ValueError, match="guidance_scale"):
        Order("toy", STAR, guidance=-1.0).options()
    with pytest.raises(ValueError, match="fidelity must be one of"):
        fidelity_options(catalog.get("loose", "image"), "fuzzy")


@pytest.mark.usefixtures("toys")
def test_files_that_a_checkpoint_needs_reach_its_loader() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--image-model", "m.pt", "--image-vq", "v.pt", "--revision", "r"])
    settings = Settings.of(args, "image")
    assert settings.parts == {"vq": "v.pt"}
    assert Settings.of(args, "text").revision == "r"
    assert Settings.of(args, "video").parts == {}
    loaded.clear()
    shown = reported(Studio(settings), Order("m.pt", STAR, beside=False))
    assert loaded[0]["vq"] == "v.pt"
    assert loaded[0]["revision"] is None
    assert shown[-1].results


def test_every_method_takes_every_setting_of_the_knob() -> None:
    found = set()
    for model in catalog.embedded("image"):
        for method in methods_for(model):
            found.add(method.name)
            for fidelity in FIDELITIES:
                options = fidelity_options(method, fidelity)
                assert bool(options) == (not method.lossless)
                options.pop("bias_budget", None)
                method.check_options(options)
    assert found == {row.name for row in catalog.methods("image") if row.build}


def test_a_folder_says_what_it_draws(tmp_path: Path) -> None:
    config = {"model_type": "mar", "classes": ["red circle", "blue star"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = str(tmp_path)
    assert classes_of(model) == ["red circle", "blue star"]
    assert {row.units for row in methods_for(model)} == {"latents"}
    assert "cspd" not in [row.name for row in methods_for(model)]
    assert "cspd" in [row.name for row in methods_for(model, "a draft model")]
    studio = Studio(Settings(model))
    assert studio.methods("tiny") == [row.name for row in methods_for("tiny")]


@pytest.fixture(scope="module")
def url(serve: Callable[[Any], str]) -> str:
    return serve(build_demo(machine=Machine(1)))


@pytest.fixture
def page(url: str, chromium: Any) -> Iterator[Any]:
    with visit(chromium, url) as opened:
        opened.get_by_role("button", name="Draw").wait_for()
        yield opened


def start(page: Any) -> None:
    page.get_by_label("real time").check()
    page.get_by_role("button", name="Draw").click()


def finish(page: Any) -> None:
    page.locator(".mm-sums").wait_for(timeout=4000 * SECONDS)
    assert page.locator(".mm-pic header span", has_text="done").count() == 2


@pytest.mark.slow
def test_a_prompt_is_drawn_plainly_and_faster(page: Any) -> None:
    start(page)
    page.locator(".mm-frame img").first.wait_for()
    finish(page)
    assert page.locator(".mm-bar i").first.get_attribute("style") == "width:100.0%"
    assert "256/256" in page.locator(".mm-count").last.inner_text()
    assert page.locator(".mm-shares i").count() >= 2
    assert page.locator(".mm-badge", has_text="exact").count() == 1
    page.locator(".mm-slider img").first.wait_for()
    assert page.locator(".mm-frame img").count() == 3


@pytest.mark.slow
def test_a_class_is_drawn_and_the_knob_ends_at_the_plain_picture(page: Any) -> None:
    page.get_by_label("tiny-mar").check()
    page.get_by_label("Class").wait_for()
    page.get_by_text("stays if it is within 0.5").wait_for()
    page.get_by_label("exact", exact=True).check()
    page.get_by_text("Every vector is the one that the model would have drawn").wait_for()
    start(page)
    finish(page)
    page.get_by_text("identical to plain, ").wait_for()


@pytest.mark.slow
def test_wrong_words_are_refused_and_stop_frees_the_model(page: Any) -> None:
    prompt = page.get_by_label("Prompt")
    prompt.fill("a red <b>elephant</b>")
    start(page)
    said = page.locator(".mm-notice.bad")
    said.wait_for()
    assert "unknown word '<'" in said.inner_text()
    assert page.locator(".mm-notice b").count() == 0
    prompt.fill("a red circle")
    page.get_by_label("slow motion").check()
    page.get_by_role("button", name="Draw").click()
    page.locator(".mm-frame img").first.wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped. The model is free").wait_for()
    assert page.locator(".mm-sums").count() == 0
    start(page)
    finish(page)
