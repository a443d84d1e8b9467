"""A browser clicks through the page: upload, run, stop, bad files, two viewers, dark and light."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from demos.app import TABS, build_demo
from demos.page import MAX_FILE_BYTES, samples
from demos.serving import Machine
from tests.demos.browser import SECONDS, visit

pytestmark = pytest.mark.slow
UPLOAD = ".mm-tab-caption input[type=file]"


class Held:
    """Keeps a machine busy until it is let go, so that the order of events is certain."""

    def __init__(self, machine: Machine) -> None:
        self._free, self._taken = threading.Event(), threading.Event()
        self._machine = machine
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        assert self._taken.wait(SECONDS)

    def _watch(self) -> None:
        for _ in self._machine.watch("a viewer elsewhere", self._work):
            pass

    def _work(self, report: Callable[[Any], None]) -> None:
        self._taken.set()
        self._free.wait(SECONDS)

    @property
    def holds(self) -> bool:
        return self._thread.is_alive()

    def let_go(self) -> None:
        self._free.set()
        self._thread.join()


class Site:
    """The whole demo, served once."""

    machine: ClassVar[Machine]
    url: ClassVar[str]


@pytest.fixture(scope="module")
def site(chromium: Any, serve: Callable[[Any], str]) -> Site:
    Site.machine = Machine()
    Site.url = serve(build_demo(machine=Site.machine))
    return Site()


@pytest.fixture
def page(site: Site, chromium: Any) -> Iterator[Any]:
    with visit(chromium, site.url) as opened:
        opened.get_by_role("button", name="Race").wait_for()
        yield opened


def pick_first_example(page: Any) -> None:
    page.locator(".mm-examples .thumbnail-item").first.click()
    page.locator(".mm-preview img").first.wait_for()


def race(page: Any, speed: str = "real time") -> None:
    page.get_by_label(speed).check()
    page.get_by_role("button", name="Race").click()


def wait_for_the_end(page: Any) -> None:
    page.locator(".mm-done").nth(1).wait_for()
    page.locator(".mm-badge", has_text="identical").wait_for()


def test_an_example_races_to_an_identical_caption(page: Any) -> None:
    page.locator(".mm-examples .thumbnail-item").last.click()
    page.locator(".mm-preview.strip img").first.wait_for()  # the clip
    pick_first_example(page)
    page.locator(".mm-preview.single img").wait_for()
    race(page)
    wait_for_the_end(page)
    plain, ours = page.locator(".mm-text").all_inner_texts()
    assert plain == ours
    assert plain.endswith(".")
    assert page.locator(".mm-lane").first.locator(".accepted").count() == 0
    word = page.locator(".mm-lane .accepted").first
    assert "p = " in (word.get_attribute("title") or "")
    assert "× the speed of plain" in page.locator(".mm-badge.big").inner_text()


def test_every_tab_opens(page: Any) -> None:
    for tab in TABS:
        page.get_by_role("tab", name=tab.TITLE, exact=True).click()
        shown = page.locator(f".mm-tab-{tab.TITLE.lower()}")
        shown.wait_for()
        assert len(shown.inner_text()) > 40


def test_a_picture_is_uploaded_and_captioned_by_another_method(page: Any) -> None:
    page.locator(UPLOAD).set_input_files(str(samples()[1]))
    page.locator(".mm-preview img").wait_for()
    page.get_by_label("Method").click()
    page.get_by_role("option", name="flash").click()
    race(page)
    wait_for_the_end(page)
    assert page.locator(".mm-lane h3").last.inner_text().startswith("flash")


def test_a_fake_png_is_refused_with_a_sentence(page: Any, tmp_path: Path) -> None:
    fake = tmp_path / "holiday <img src=x onerror=document.title=1>.png"
    fake.write_text("these are not the pixels you are looking for")
    page.locator(UPLOAD).set_input_files(str(fake))
    said = page.locator(".mm-notice.bad").first
    said.wait_for()
    assert said.inner_text().startswith("Cannot read 'holiday")
    assert said.inner_text().endswith(".")
    assert page.locator(".mm-notice img").count() == 0
    assert "Traceback" not in page.content()
    race(page)  # refused again, and nothing is stuck
    page.wait_for_timeout(300)
    said.wait_for()
    pick_first_example(page)
    race(page)
    wait_for_the_end(page)


def test_200_megabytes_are_refused_with_a_sentence(page: Any, site: Site, tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(200 * 2**20)
    page.locator(UPLOAD).set_input_files(str(huge))
    page.get_by_text("exceed the maximum allowed size of 64").first.wait_for()
    # The browser's word is not taken for it.
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = head + bytes(MAX_FILE_BYTES + 1) + b"\r\n--x--\r\n"
    sent = urllib.request.Request(
        f"{site.url}gradio_api/upload",
        body,
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(sent, timeout=SECONDS)
    assert refused.value.code == 413


def test_nothing_chosen_and_nothing_running_are_said(page: Any) -> None:
    race(page)
    page.get_by_text("There is nothing to caption yet").wait_for()
    page.get_by_role("button", name="Stop").first.click()
    page.get_by_text("Nothing is running.").wait_for()


def test_stop_frees_the_model(page: Any, site: Site) -> None:
    pick_first_example(page)
    race(page, "10× slower")
    page.locator(".mm-lane").first.wait_for()
    page.get_by_role("button", name="Stop").first.click()
    page.get_by_text("Stopped. The model is free").wait_for()
    assert page.locator(".mm-badge", has_text="identical").count() == 0
    race(page)
    wait_for_the_end(page)


def test_two_viewers_are_served_in_turn(site: Site, chromium: Any) -> None:
    held = Held(site.machine)
    with visit(chromium, site.url) as first, visit(chromium, site.url) as second:
        for viewer, line in ((first, "1 run is served first"), (second, "2 runs are served first")):
            viewer.get_by_role("button", name="Race").wait_for()
            pick_first_example(viewer)
            race(viewer)
            viewer.get_by_text(line).wait_for()
        held.let_go()
        wait_for_the_end(first)
        wait_for_the_end(second)
        assert first.locator(".mm-text").last.inner_text() == (
            second.locator(".mm-text").last.inner_text()
        )


def test_a_viewer_who_leaves_gives_up_the_place_in_line(site: Site, chromium: Any) -> None:
    held = Held(site.machine)
    try:
        with visit(chromium, site.url) as viewer:
            viewer.get_by_role("button", name="Race").wait_for()
            pick_first_example(viewer)
            race(viewer)
            viewer.get_by_text("1 run is served first").wait_for()
            assert site.machine.waiting == 1
        until = time.monotonic() + SECONDS
        while site.machine.waiting and time.monotonic() < until:
            time.sleep(0.1)
        assert held.holds
        assert site.machine.waiting == 0
    finally:
        held.let_go()


def test_the_dark_page_is_dark_and_filters_methods(site: Site, chromium: Any) -> None:
    with visit(chromium, site.url, dark=True) as page:
        page.get_by_role("tab", name="Methods").click()
        page.locator(".mm-methods").nth(2).wait_for()
        page.get_by_label("Video").check()
        page.locator(".mm-methods").nth(1).wait_for(state="detached")
        assert page.get_by_text("sdvg-hybrid").count() == 1
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in colour[4:-1].split(",")[:3]) < 64
