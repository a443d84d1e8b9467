"""What a viewer reads when something is refused, fails or is stopped: sentences, never tracebacks.

Everything that enters a page goes through :func:`escape`: names of files, prompts and the text of
models are untrusted.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

from demos.serving import Stopped, Waiting

__all__ = ["escape", "guarded", "notice_html", "sentence", "waiting_html"]

logger = logging.getLogger(__name__)

# What a user can do something about; the text of these errors is written for people.
_EXPECTED = (ValueError, OSError, RuntimeError, ImportError, FloatingPointError)

Update = dict[Any, Any]


def sentence(error: BaseException) -> str:
    """An error as one sentence with a capital and a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not (lines and isinstance(error, _EXPECTED)):
        return (
            f"Something unexpected went wrong ({type(error).__name__}). "
            "The terminal in which the demo runs says more."
        )
    text = lines[0][0].upper() + lines[0][1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def notice_html(text: str, kind: str = "plain") -> str:
    """A line above the results; ``kind`` is ``plain``, ``good``, ``warn`` or ``bad``."""
    role = "alert" if kind == "bad" else "status"
    return f'<p class="mm-notice {kind}" role="{role}">{escape(text)}</p>'


def waiting_html(waiting: Waiting) -> str:
    """The notice for somebody in line."""
    runs = "1 run is" if waiting.ahead == 1 else f"{waiting.ahead} runs are"
    return notice_html(f"{runs} served first. Yours starts by itself.")


def guarded(notice: Any, handler: Callable[..., Iterator[Update]]) -> Callable[..., Any]:
    """A Gradio handler that always ends in something to read.

    Args:
        notice: The ``gr.HTML`` for messages; must be among the outputs of the event.
        handler: Yields dictionaries of outputs by component.

    Returns:
        The handler, which empties the notice first and fills it where the run is stopped or fails.
    """

    @functools.wraps(handler)
    def run(*args: Any) -> Iterator[Update]:
        yield {notice: ""}
        try:
            yield from handler(*args)
        except Stopped:
            yield {notice: notice_html("Stopped. The model is free for the next run.")}
        except Exception as error:
            if not isinstance(error, _EXPECTED):
                logger.exception("a handler of the demo failed")
            yield {notice: notice_html(sentence(error), "bad")}

    return run
