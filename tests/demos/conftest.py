"""A browser for the session, and pages served to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.demos.browser import MISSING, find_chromium


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's Chromium, headless."""
    path = find_chromium()
    if path is None:
        pytest.skip(MISSING)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Any], str]]:
    """Serves what ``build_demo()`` returned until the session ends; gives the address."""
    from demos.page import launch

    served: list[Any] = []

    def start(demo: Any) -> str:
        served.append(demo)
        _, url, _ = launch(demo, prevent_thread_lock=True, quiet=True)
        return str(url)

    yield start
    for demo in served:
        demo.close(verbose=False)
