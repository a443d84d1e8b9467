"""A real headless Chromium that visits served pages, and what every visit must leave clean."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "NO BROWSER TESTS: Chromium is not installed (apt-get install chromium, or set CHROMIUM)"
SECONDS = 120  # patience with a loaded machine; a quiet one needs a fraction


def find_chromium() -> str | None:
    """Path of the system's Chromium; the variable CHROMIUM goes first."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def visit(browser: Any, url: str, *, dark: bool = False, quiet: bool = True) -> Iterator[Any]:
    """A visitor of their own: a fresh session on the page behind ``url``.

    Nothing may be asked of another machine, and with ``quiet`` nothing may be complained about on
    the browser's console.
    """
    context = browser.new_context(
        viewport={"width": 1280, "height": 960}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.set_default_timeout(1000 * SECONDS)
    abroad: list[str] = []
    complaints: list[str] = []

    def watch(request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            abroad.append(request.url)

    page.on("request", watch)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    assert abroad == []
    assert not (quiet and complaints), complaints
