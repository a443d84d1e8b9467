"""What `mmspec caption` prints and writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmspec.commands.console import Console, to_line
from mmspec.commands.summary import headline, numbers, verdict
from mmspec.render import Piece, ansi_legend, ansi_piece, printable, to_ansi

if TYPE_CHECKING:
    from mmspec.pipelines.result import CaptionResult

_SHOWN = (
    ("tokens", "{0.tokens}"),
    ("seconds", "{0.seconds:.2f}"),
    ("tokens/s", "{0.tokens_per_second:.1f}"),
    ("target forwards", "{0.target_forwards}"),
    ("acceptance length (bonus included)", "{0.acceptance_length:.2f}"),
)


class Printer:
    """Captions to stdout, the summary to stderr.

    Args:
        console: Where text goes.
        streaming: Print tokens as they are committed.
    """

    def __init__(self, console: Console, streaming: bool) -> None:
        self.streaming = streaming
        self._console = console
        self._color = console.color(sys.stderr if console.json else sys.stdout)
        self._now: int | None = None

    def on_text(self, index: int, piece: Piece) -> None:
        """A committed token; inputs come one after the other, each on a line of its own."""
        if self._now is not None and index != self._now:
            self._console.result("")
        self._now = index
        self._console.result(ansi_piece(piece, self._color), end="")

    def captions(self, result: CaptionResult) -> None:
        """Every caption that has not been streamed, one a line."""
        if self._now is not None:
            self._console.result("")
        for index, output in enumerate(result.outputs):
            if output.text is None or self._now is not None:
                continue
            text = printable(output.text)
            if self._color:
                text = to_ansi(result.pieces(index))
            label = "" if result.single else f"{printable(output.input)}: "
            self._console.result(label + text)
        if self._color and any(output.text for output in result.outputs):
            self._console.say(ansi_legend())

    def summary(self, result: CaptionResult) -> None:
        """Notes, failures and the table for people."""
        console = self._console
        for output in result.outputs:
            if output.note:
                console.say(f"  note: {printable(output.input)}: {printable(output.note)}")
        for note in result.notes:
            console.say(f"  note: {note}")
        console.say(f"  {headline(result)}")
        if result.metrics.tokens:
            console.table(numbers(result, _SHOWN))
        for line in verdict(result, "word for word"):
            console.say(f"  {line}")
        if result.failed:
            console.error(f"{len(result.failed)} of {len(result.outputs)} inputs failed")


def write_files(result: CaptionResult, folder: Path, report: bool) -> list[Path]:
    """The captions as text and JSON, the trace, and the report if asked for; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{output.input}\t{' '.join((output.text or '').split())}" for output in result.outputs
    ]
    contents = {
        "captions.txt": "\n".join(lines) + "\n",
        "captions.json": json.dumps(json.loads(to_line(result.to_json())), indent=2) + "\n",
        "trace.json": to_line(result.trace.to_json()) + "\n",
    }
    if report:
        from mmspec.report import caption_page

        contents["report.html"] = caption_page(result)
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in contents]
