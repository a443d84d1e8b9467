"""Colours, pages and plots: nothing escapes, nothing is loaded from elsewhere, nothing is lost."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mmspec import pipeline, render
from mmspec.messages import Commit
from mmspec.pipelines.result import CaptionResult
from mmspec.plots import plot_trace, svg
from mmspec.render import Detokenizer, Piece
from mmspec.report import caption_page
from mmspec.speed import efficiency, ideal_speedup
from mmspec.trace import Trace

NASTY = Piece('<script>alert("x")</script>&', "accepted", 0.5, 3)


def commit(emitted: int, accepted: int, depth: int) -> Commit:
    return Commit(
        units=[list(range(emitted))],
        accepted=[accepted],
        corrected=[accepted < depth],
        probability=[[0.5] * emitted],
        drafted=[depth],
        depth=depth,
        finished=[False],
        active=[True],
    )


def made_trace(rounds: int, accepted: int, depth: int, verify: float, draft: float) -> Trace:
    """A prefill and some rounds, with seconds by hand."""
    trace = Trace()
    trace.begin(1)
    trace._current = {"prefill": 1.0}
    trace.record(commit(1, 0, 0), "none")
    for _ in range(rounds):
        trace._current = {"verify": verify, "draft": draft}
        trace.record(commit(accepted + 1, accepted, depth), "test")
    trace.end()
    return trace


def test_ideal_speedup_is_tau_over_round_cost() -> None:
    plain = made_trace(8, 0, 0, verify=0.1, draft=0.0)
    ours = made_trace(4, 3, 4, verify=0.15, draft=0.05)
    assert ours.acceptance_length == 4
    assert ideal_speedup(ours, plain) == pytest.approx(4 / (0.2 / 0.1))
    assert efficiency(1.5, 2.0) == 0.75
    assert ideal_speedup(Trace(), plain) is None
    assert efficiency(1.5, None) is None


def test_html_is_escaped_and_explained() -> None:
    page = render.to_html([NASTY, Piece(" word", "bonus", 0.25, 4)])
    assert "<script" not in page
    assert '<span class="bonus" title="bonus, p = 0.250, round 4">word</span>' in page


def test_terminal_text_holds_no_foreign_control_characters() -> None:
    piece = Piece("a\x1b[2Jb\x07\x9b", "accepted")
    assert render.ansi_piece(piece, color=False) == "a[2Jb"
    assert render.ansi_piece(piece) == "\x1b[32ma[2Jb\x1b[0m"
    assert render.to_ansi([Piece(" ", "accepted"), Piece("x", "target")]) == " x"


def test_pieces_of_split_characters_join_to_the_text() -> None:
    """Bytes as tokens: the pieces of a letter that spans several come out with its last one."""
    text = "naïve 🙂 café"
    ids = list(text.encode())

    def decode(tokens: list[int]) -> str:
        return bytes(tokens).decode("utf-8", errors="replace")

    words = Detokenizer(decode)
    parts = [words.push(token) for token in ids]
    assert "".join(parts) + words.rest() == text
    assert "�" not in "".join(parts)
    cut = Detokenizer(decode)
    parts = [cut.push(token) for token in ids[:3]]
    assert "".join(parts) + cut.rest() == decode(ids[:3])


@pytest.fixture(scope="module")
def result(llava_folder: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    bad = tmp_path_factory.mktemp("bad") / "<b>bad.png"
    bad.write_text("nothing")
    pipe = pipeline(
        "caption", str(llava_folder), method="prompt-lookup", dtype="float32", pacer="fixed"
    )
    inputs = [*sorted(photos.iterdir()), bad]
    return pipe.compare(inputs, max_new_tokens=12, on_error="skip", thumbnails=True)


class Links(HTMLParser):
    """Collects what a page would load and checks that tags close."""

    VOID = frozenset({"meta", "img", "br", "path", "use", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_page_is_self_contained_and_complete(result: CaptionResult) -> None:
    page = caption_page(result)
    links = Links()
    links.feed(page)
    assert links.open == []
    assert "script" not in links.loads
    outside = [load[:40] for load in links.loads if not load.startswith(("data:image/png", "#"))]
    assert outside == []
    assert page.count("data:image/png") == 3
    assert "identical to plain decoding" in page
    assert "<b>bad" not in page
    assert "prefers-color-scheme: dark" in page
    for output in result.outputs[:3]:
        card = page[page.index(f">{Path(output.input).name}</h3>") :]
        words = re.sub("<[^>]+>", "", card[card.index("<p class") : card.index("</p>")])
        assert words.split() == (output.text or "").split()


def test_page_says_when_texts_differ(result: CaptionResult) -> None:
    assert result.baseline is not None
    first = result.outputs[0]
    kept, first.baseline_ids, result.baseline.identical = first.baseline_ids, [9, 9], False
    try:
        page = caption_page(result)
    finally:
        first.baseline_ids, result.baseline.identical = kept, True
    assert "differs from plain decoding" in page
    assert "plain decoding wrote" in page


@pytest.mark.parametrize("trace", [Trace(), made_trace(5, 2, 3, 0.1, 0.02)], ids=["empty", "full"])
def test_plots_are_drawn_without_global_state(trace: Trace, tmp_path: Path) -> None:
    import sys

    before = "matplotlib.pyplot" in sys.modules
    for suffix in ("png", "svg"):
        plot_trace(trace, tmp_path / f"plot.{suffix}")
        assert (tmp_path / f"plot.{suffix}").stat().st_size > 1000
    assert svg(trace).startswith("<svg")
    assert before == ("matplotlib.pyplot" in sys.modules)
    trace.plot(str(tmp_path / "again.png"))
