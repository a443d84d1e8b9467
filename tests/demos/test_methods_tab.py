"""The methods tab shows the whole catalog, what each row promises and what it needs."""

from __future__ import annotations

from html import escape
from typing import Any

import pytest

from demos.methods import build_demo, tables_html
from mmspec import catalog
from mmspec.catalog import Method


def test_every_method_is_there_with_its_promise_and_needs() -> None:
    shown = tables_html("All")
    for method in catalog.METHODS:
        assert f"<code>{escape(method.name)}</code>" in shown
        assert escape(method.summary) in shown
        assert f'title="{escape(method.certificate)}"' in shown
        assert escape(method.certificate.partition(": ")[2].rstrip(".")) in shown
        assert escape(method.needs.split("`")[0]) in shown
    assert shown.count("<tr>") == len(catalog.METHODS) + 3


def test_a_family_shows_its_own_rows_only() -> None:
    shown = tables_html("Video")
    assert shown.count("<tr>") == len(catalog.methods("video")) + 1
    assert "sdvg" in shown
    assert "vispec" not in shown


def test_promises_are_told_apart_by_colour_and_word() -> None:
    exact, lossy = tables_html("Text from pictures"), tables_html("Video")
    assert exact.count('mm-badge good"') == len(catalog.methods("text")) + 1
    assert 'mm-badge bad"' not in exact
    assert lossy.count('mm-badge bad"') == len(catalog.methods("video"))  # the plain row is exact


def test_papers_are_linked() -> None:
    assert 'href="https://arxiv.org/abs/2509.15235"' in tables_html("Text from pictures")


def test_rows_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Method("<b>x</b>", "video", "<script>", certificate="<i>: no", needs="`<u>`", paper="<p>")
    monkeypatch.setattr(catalog, "METHODS", (bad,))
    shown = tables_html("Video")
    for tag in ("<b>x", "<script", "<i>", "<u>", "<p>"):
        assert tag not in shown


def test_the_tab_is_a_page_of_its_own() -> None:
    demo: Any = build_demo()
    assert [block.label for block in demo.blocks.values() if getattr(block, "label", None)]
