"""Whatever goes wrong becomes a sentence, and whatever enters a page is escaped."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from demos.errors import guarded, notice_html, sentence, waiting_html
from demos.serving import Stopped, Waiting

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such method"), "No such method."),
        (ValueError("is it there?"), "Is it there?"),
        (OSError("disk full\nwith a second line"), "Disk full."),
        (RuntimeError("  out of memory. "), "Out of memory."),
    ],
)
def test_expected_errors_keep_their_words(error: Exception, said: str) -> None:
    assert sentence(error) == said


@pytest.mark.parametrize("error", [KeyError("secret"), ValueError(), ZeroDivisionError("secret")])
def test_others_are_named_but_not_shown(error: Exception) -> None:
    said = sentence(error)
    assert type(error).__name__ in said
    assert "secret" not in said
    assert said.endswith(".")


def test_notices_are_escaped() -> None:
    assert "<img" not in notice_html(HOSTILE)
    assert "&lt;img" in notice_html(HOSTILE)
    assert 'role="alert"' in notice_html("no", "bad")


def test_a_place_in_line_reads_like_english() -> None:
    assert "1 run is served first" in waiting_html(Waiting(1))
    assert "3 runs are served first" in waiting_html(Waiting(3))


def test_a_guarded_handler_ends_in_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    notice, pane = object(), object()

    def handler(error: BaseException | None) -> Iterator[dict[Any, Any]]:
        yield {pane: "drawn"}
        if error is not None:
            raise error

    run = guarded(notice, handler)
    assert list(run(None)) == [{notice: ""}, {pane: "drawn"}]
    *_, last = run(ValueError(HOSTILE))
    assert "&lt;img" in last[notice]
    assert "<img" not in last[notice]
    *_, last = run(Stopped())
    assert "model is free" in last[notice]
    assert not caplog.records
    with caplog.at_level(logging.ERROR):
        *_, last = run(KeyError("secret"))
    assert "KeyError" in last[notice]
    assert "secret" in caplog.text  # for the terminal, not for the page
    assert "Traceback" not in last[notice]


def test_gradio_still_hands_the_request_to_a_guarded_method() -> None:
    from gradio.helpers import special_args

    class Tab:
        def run(self, value: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
            yield {"value": value, "session": request.session_hash}

    handler = guarded("notice", Tab().run)
    request = gr.Request(session_hash="abc")
    inputs, *_ = special_args(handler, ["cat"], request)
    assert list(handler(*inputs))[-1] == {"value": "cat", "session": "abc"}
