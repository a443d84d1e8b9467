"""The caption tab: plain decoding and a method race on a picture or a clip."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from demos import page
from demos.caption_race import FRAMES, MAX_TOKENS, Begin, Board, Finish, Order, Status, run
from demos.caption_view import preview_html, race_html
from demos.captioner import AUTO, Captioner
from demos.errors import Update, guarded, notice_html, waiting_html
from demos.serving import Machine, Waiting
from demos.settings import Settings
from mmspec.media import read_media
from mmspec.pipelines.options import PICTURE_PROMPT

TITLE, FAMILY = "Caption", "text"
SUFFIXES = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".m4v", ".webm"]
SPEEDS = {"real time": 1, "3× slower": 3, "10× slower": 10}
_THUMBNAIL = 56  # pixels of a side
_REFRESH = 0.1  # seconds between two drawings of the page
_LONGEST_PAUSE = 2.0  # of slow motion, so that Stop is never far


def build_demo(settings: Settings | None = None, machine: Machine | None = None) -> gr.Blocks:
    """The tab as a page of its own.

    Args:
        settings: The model; the embedded one by default.
        machine: Does the work; tabs of one page share it.
    """
    captioner = Captioner(settings or Settings())
    machine = machine or Machine()
    with page.blocks("mmspec: caption") as demo, gr.Row():
        with gr.Column(scale=4, min_width=320):
            file = gr.File(label="Picture or clip", file_types=SUFFIXES, height=130)
            examples = _examples()
            wanted = _controls(captioner)
            start, stop = page.run_buttons("Race")
        with gr.Column(scale=8, min_width=480):
            tab = _Tab(
                captioner,
                machine,
                notice=page.notice(),
                preview=page.html("", "mm-previews"),
                pane=page.html(_WELCOME, "mm-pane"),
            )
        examples.select(_pick, None, file, queue=False, **page.PRIVATE)
        look = guarded(tab.notice, tab.look)
        file.change(look, file, [tab.notice, tab.preview], **page.PRIVATE)
        race = guarded(tab.notice, tab.race)
        page.connect(machine, start, stop, race, [file, *wanted], [tab.notice, tab.pane])
    return demo


_WELCOME = (
    '<p class="mm-soft">Choose a picture or a clip and start the race: plain decoding, one token a '
    "pass, against a method that drafts several and has them checked at once.</p>"
)


def _examples() -> gr.Gallery:
    """Small copies of the samples, in their order."""
    return gr.Gallery(
        [_thumbnail(path) for path in page.samples()],
        show_label=False,
        container=False,
        columns=7,
        height=_THUMBNAIL,
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_classes=["mm-examples"],
    )


def _thumbnail(path: Path) -> Image.Image:
    """A small copy; clips carry the sign of a player."""
    media = read_media(path, 1)
    image = media.frames[0].resize((2 * _THUMBNAIL, 2 * _THUMBNAIL))
    if media.is_video:
        low, middle, high = (round(share * image.width) for share in (0.36, 0.5, 0.68))
        pen = ImageDraw.Draw(image)
        pen.ellipse([0.24 * image.width] * 2 + [0.76 * image.width] * 2, fill="#1d2430")
        pen.polygon([(low + 4, low), (low + 4, image.width - low), (high, middle)], fill="white")
    return image


def _pick(event: gr.SelectData) -> str:
    """The file behind an example."""
    return str(page.samples()[event.index])


def _controls(captioner: Captioner) -> list[Any]:
    """What a run is told, in the order of :func:`_race`'s arguments."""
    method = gr.Dropdown(captioner.methods(), value=AUTO, label="Method", interactive=True)
    size = gr.Slider(
        4, 64, captioner.default_size(AUTO), step=1, label="Tree size (drafted tokens a round)"
    )
    temperature = gr.Slider(0, 1.5, 0, step=0.1, label="Temperature (0: greedy)")
    slow = captioner.settings.embedded("text")
    speed = gr.Radio(
        list(SPEEDS), value=list(SPEEDS)[2 if slow else 0], label="Show (the clocks stay real)"
    )
    with gr.Accordion("More", open=False):
        prompt = gr.Textbox("", label="Question", placeholder=PICTURE_PROMPT, max_length=2000)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31)
        most = gr.Slider(8, MAX_TOKENS, 128, step=8, label="Most tokens of a caption")
    method.change(captioner.default_size, method, size, queue=False, **page.PRIVATE)
    return [method, size, temperature, speed, prompt, seed, most]


@dataclass(frozen=True)
class _Tab:
    """What runs when something is chosen or started, and where on the page it shows."""

    captioner: Captioner
    machine: Machine
    notice: gr.HTML
    preview: gr.HTML
    pane: gr.HTML

    def look(self, file: str | None) -> Iterator[Update]:
        """Show what was chosen; whatever cannot be read is refused here already."""
        yield {self.preview: ""}
        if file is not None:
            yield {self.preview: preview_html(read_media(file, FRAMES, page.LIMITS))}

    def race(
        self,
        file: str | None,
        method: str,
        size: float,
        temperature: float,
        speed: str,
        prompt: str | None,
        seed: float | None,
        most: float,
        request: gr.Request,
    ) -> Iterator[Update]:
        """Check what was asked for, then follow the race."""
        if file is None:
            raise ValueError("there is nothing to caption yet: upload a picture or pick an example")
        order = Order(
            file,
            method,
            int(size),
            float(temperature),
            (prompt or "").strip(),
            int(seed or 0),
            int(most),
        )
        order.options()
        work = partial(run, self.captioner, order)
        yield from self._follow(self.machine.watch(page.session(request), work), speed)

    def _follow(self, items: Iterator[Any], speed: str) -> Iterator[Update]:
        board, film = None, _Film(SPEEDS.get(speed, 1))
        for item in items:
            if isinstance(item, Waiting):
                yield {self.notice: waiting_html(item)}
            elif isinstance(item, Status):
                yield {self.notice: notice_html(item.text)}
            elif isinstance(item, Begin):
                board = Board(item)
                film.begin()
                yield {self.notice: "", self.pane: race_html(board)}
            elif board is not None:
                board.add(item)
                if isinstance(item, Finish) or film.due(item.seconds):
                    yield {self.pane: race_html(board)}


class _Film:
    """When to draw: never before the race's own time, stretched, and a few times a second."""

    def __init__(self, slower: int) -> None:
        self._slower, self._start, self._drawn = slower, 0.0, 0.0

    def begin(self) -> None:
        self._start = time.monotonic()

    def due(self, seconds: float) -> bool:
        """Wait for what happened at ``seconds`` of a side's clock; whether to draw it."""
        pause = self._start + self._slower * seconds - time.monotonic()
        if pause > 0:
            time.sleep(min(pause, _LONGEST_PAUSE))
        if time.monotonic() - self._drawn < _REFRESH:
            return False
        self._drawn = time.monotonic()
        return True


if __name__ == "__main__":
    sys.exit(page.run_alone(build_demo, "text", "Plain and speculative captioning, side by side."))
