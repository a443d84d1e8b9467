"""The video tab: blocks as they come, the knob from all drafts to none, films that play."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from demos.serving import Machine
from demos.settings import Settings
from demos.video import build_demo
from demos.video_race import TAUS, Filmer, Order, Shown, knob_of, run
from mmspec import catalog
from tests.core.video_target import BLOCKS, HERE
from tests.demos.browser import SECONDS, visit

TOY = Settings("toy", drafter="draft")
BALL = Order("a red ball", reward="temporal-seam", tau=-1.0, blocks=2, seed=1)


@pytest.fixture(scope="module", autouse=True)
def toys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "VIDEO_LOADER", f"{HERE}:load")
        yield


def made(folder: Path, **change: Any) -> list[Shown]:
    found: list[Shown] = []
    order = Order(**{**vars(BALL), **change})
    run(Filmer(TOY), order, folder, found.append)
    return found


def test_the_ends_of_the_knob_are_all_drafts_and_none() -> None:
    low, high, *_ = TAUS["temporal-seam"]
    for tau, want in ((low, -inf), (high, inf), (-1.0, -1.0)):
        order = Order("a ball", reward="temporal-seam", tau=tau)
        assert order.choices == {"threshold": want, "reward": "temporal-seam"}
    assert Order("a ball", method="temporal-seam", tau=high).choices == {"threshold": inf}
    for method in ("none", "draft-only", "first-block", "random", "stride", "budget"):
        assert knob_of(method, "judge") is None
        assert Order("a ball", method=method).choices == {}
    for low, high, step, middle in TAUS.values():
        assert low < middle < high
        assert round((high - low) / step, 6).is_integer()


def test_a_knob_that_keeps_nothing_gives_the_targets_video(tmp_path: Path) -> None:
    high = TAUS["temporal-seam"][1]
    shown = made(tmp_path, tau=high)
    assert shown[-1].stage.count("<b>regenerated</b>") == 1
    assert "identical to the target" in shown[-1].results
    assert "× the speed of the target" in shown[-1].results


def test_blocks_appear_as_they_are_committed(tmp_path: Path) -> None:
    shown = made(tmp_path, tau=TAUS["temporal-seam"][0])
    pictures = [one.stage.count("<img") for one in shown if one.stage]
    assert pictures == sorted(pictures)
    assert set(range(5)) == set(pictures)  # two blocks of two runs, one after the other
    assert shown[-1].stage.count("<b>forced</b>") == 3
    assert shown[-1].stage.count("<b>accepted</b>") == 1
    assert "score " in shown[-1].stage
    assert "away" in shown[-1].results
    for film in shown[-1].films:
        with av.open(film) as container:
            frames = list(container.decode(video=0))
        assert len(frames) == 9 + 12
        assert frames[0].width >= 256  # enlarged, pixel by pixel


def test_alone_there_is_one_film_and_nothing_to_compare(tmp_path: Path) -> None:
    shown = made(tmp_path, beside=False, method="first-block")
    assert len(shown[-1].films) == 1
    assert "target only" not in shown[-1].stage
    assert "away" not in shown[-1].results


def test_what_the_small_world_knows_is_offered_there_only() -> None:
    assert Filmer(TOY).rewards == ["temporal-seam"]
    assert Filmer(Settings("toy")).methods == ["none"]
    embedded = Filmer(Settings("tiny-video"))
    assert embedded.rewards == list(TAUS)
    assert set(embedded.methods) == {row.name for row in catalog.methods("video") if row.build}
    with pytest.raises(ValueError, match="unknown word 'elephant'"):
        embedded.check(Order("a red elephant moves up"))
    with pytest.raises(ValueError, match="the prompt is empty"):
        embedded.check(Order(""))
    with pytest.raises(ValueError, match="blocks must be between 1 and 30, got 31"):
        embedded.check(Order("a red circle moves up", blocks=31))


def test_memory_that_runs_out_names_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from video_ar.follower import Follower

    make, calls = Follower.make, []

    def fail(self: Any, *args: Any, **rest: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise torch.OutOfMemoryError("no room")
        return make(self, *args, **rest)

    monkeypatch.setattr(Follower, "make", fail)
    found: list[Shown] = []
    order = Order("a ball", method="none", beside=False, blocks=5)
    with pytest.raises(RuntimeError, match="memory ran out in block 3"):
        run(Filmer(Settings("toy")), order, tmp_path, found.append)
    assert found[-1].stage.count("<img") == 3


@pytest.fixture(scope="module")
def url(serve: Callable[[Any], str]) -> str:
    return serve(build_demo(TOY, Machine(1)))


@pytest.fixture
def page(url: str, chromium: Any) -> Iterator[Any]:
    with visit(chromium, url) as opened:
        opened.get_by_role("button", name="Film").wait_for()
        yield opened


@pytest.mark.slow
def test_a_video_is_made_block_by_block_and_plays(page: Any) -> None:
    page.get_by_role("button", name="Film").click()
    page.locator(".mm-block img").first.wait_for()
    page.locator(".mm-sums").wait_for(timeout=4000 * SECONDS)
    assert page.locator(".mm-block img").count() == 2 * BLOCKS
    assert page.locator(".mm-times > div > i").count() == 2 * BLOCKS
    for number in range(2):
        film = page.locator(".mm-player video").nth(number)
        film.wait_for()
        page.wait_for_function("film => film.videoWidth > 0", arg=film.element_handle())


@pytest.mark.slow
def test_other_methods_have_other_knobs_and_nothing_is_a_dead_end(page: Any) -> None:
    page.get_by_label("Threshold").first.wait_for()
    page.get_by_label("Prompt").fill(" ")
    page.get_by_role("button", name="Film").click()
    page.get_by_text("The prompt is empty").wait_for()
    page.get_by_label("Prompt").fill("a star")
    page.get_by_label("Method").click()
    page.get_by_role("option", name="first-block").click()
    page.get_by_label("Threshold").first.wait_for(state="hidden")
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Nothing is running.").wait_for()
    page.get_by_role("button", name="Film").click()
    page.locator(".mm-sums").wait_for(timeout=4000 * SECONDS)
    assert page.locator(".mm-block b", has_text="accepted").count() == BLOCKS - 1
