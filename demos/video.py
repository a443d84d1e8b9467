"""The video tab: blocks appear as they are committed, by the target alone and by a method."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from demos import page
from demos.errors import Update, guarded, notice_html, waiting_html
from demos.serving import Machine, Waiting
from demos.settings import Settings
from demos.video_race import MOST_BLOCKS, TAUS, Filmer, Order, knob_of, run
from mmspec import catalog

TITLE, FAMILY = "Video", "video"
MODEL = "tiny-video"
PROMPTS = (
    "a large red circle on the left moves to the right",
    "a large blue square at the top stays still and a green triangle at the bottom bounces on mint",
    "a large blue cross in the centre bounces on lilac",
)
_ABOUT_TAU = "Drafted blocks that score below are made anew. Left end: keep all; right end: none."
_WELCOME = (
    '<p class="mm-soft">Say what moves. The video comes block by block: a small model drafts each '
    "block, a reward looks at it, and the target makes anew what is not good enough.</p>"
)


def build_demo(settings: Settings | None = None, machine: Machine | None = None) -> gr.Blocks:
    """The tab as a page of its own.

    Args:
        settings: The model; the embedded one by default.
        machine: Does the work; tabs of one page share it.
    """
    machine = machine or Machine()
    filmer = Filmer(settings or Settings(MODEL))
    with page.blocks("mmspec: video") as demo, gr.Row():
        with gr.Column(scale=4, min_width=320):
            wanted = _controls(filmer)
            start, stop = page.run_buttons("Film")
        with gr.Column(scale=8, min_width=480):
            notice = page.notice()
            stage = page.html(_WELCOME, "mm-pane")
            results = page.html("", "mm-pane")
            with gr.Row():
                plain, ours = _player("target only"), _player("the method")
            tab = _Tab(filmer, machine, notice, stage, results, plain, ours)
        film = guarded(notice, tab.film)
        page.connect(machine, start, stop, film, wanted, tab.outputs)
    return demo


def _player(label: str) -> gr.Video:
    return gr.Video(
        label=label,
        visible=False,
        interactive=False,
        autoplay=True,
        loop=True,
        height=300,
        buttons=["download"],
        elem_classes=["mm-player"],
    )


def _controls(filmer: Filmer) -> list[Any]:
    """What a run is told, in the order of :meth:`_Tab.film`'s arguments."""
    prompt = gr.Textbox(PROMPTS[0], label="Prompt", max_length=4000, lines=2)
    if filmer.embedded:
        gr.Examples([[text] for text in PROMPTS], prompt, label="Prompts of the small world")
    names, rewards = filmer.methods, filmer.rewards
    first = "sdvg" if "sdvg" in names else names[0]
    row = catalog.get(first, "video")
    method = gr.Dropdown(names, value=first, label="Method", info=row.summary)
    reward = gr.Radio(
        rewards, value=rewards[0], label="Reward", visible=_scored(first), interactive=True
    )
    low, high, step, middle = TAUS[rewards[0]]
    tau = gr.Slider(
        low,
        high,
        middle,
        step=step,
        label="Threshold τ",
        info=_ABOUT_TAU,
        visible=knob_of(first, rewards[0]) is not None,
    )
    with gr.Accordion("More", open=False):
        blocks = gr.Number(
            None,
            label="Blocks",
            info="empty: the model's own number",
            precision=0,
            minimum=1,
            maximum=MOST_BLOCKS,
        )
        seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**31)
        beside = gr.Checkbox(True, label="Have the target make it alone as well, to compare")
    for changed in (method.change, reward.input):
        changed(_turned, [method, reward], [method, reward, tau], queue=False, **page.PRIVATE)
    return [prompt, method, reward, tau, blocks, seed, beside]


def _scored(method: str) -> bool:
    """Whether a method compares a reward that can be chosen."""
    return "scorer" in catalog.get(method, "video").all_options


def _turned(method: str, reward: str) -> tuple[Any, Any, Any]:
    """What can be set of another method, or on the scale of another reward."""
    knob = knob_of(method, reward)
    tau = gr.update(visible=False)
    if knob is not None:
        low, high, step, middle = TAUS[knob]
        tau = gr.update(minimum=low, maximum=high, step=step, value=middle, visible=True)
    about = catalog.get(method, "video").summary
    return gr.update(info=about), gr.update(visible=_scored(method)), tau


@dataclass(frozen=True)
class _Tab:
    """What runs when a video is started, and where on the page it shows."""

    filmer: Filmer
    machine: Machine
    notice: gr.HTML
    stage: gr.HTML
    results: gr.HTML
    plain: gr.Video
    ours: gr.Video

    @property
    def outputs(self) -> list[Any]:
        """All that a run writes, the notice first."""
        return [self.notice, self.stage, self.results, self.plain, self.ours]

    def film(
        self,
        prompt: str | None,
        method: str,
        reward: str,
        tau: float,
        blocks: float | None,
        seed: float | None,
        beside: bool,
        request: gr.Request,
    ) -> Iterator[Update]:
        """Check what was asked for, then follow it being made."""
        order = Order(
            prompt=(prompt or "").strip(),
            method=method,
            reward=reward,
            tau=tau,
            blocks=None if blocks is None else int(blocks),
            seed=int(seed or 0),
            beside=beside,
        )
        self.filmer.check(order)
        hidden = gr.update(value=None, visible=False)
        yield {self.results: "", self.plain: hidden, self.ours: hidden}
        # Gradio copies a film when it is handed over, so that ours may go when the run ends.
        with tempfile.TemporaryDirectory(prefix="mmspec-demo-") as folder:
            work = partial(run, self.filmer, order, Path(folder))
            yield from self._follow(self.machine.watch(page.session(request), work), method)

    def _follow(self, items: Iterator[Any], method: str) -> Iterator[Update]:
        for item in items:
            if isinstance(item, Waiting):
                yield {self.notice: waiting_html(item)}
            elif item.status:
                yield {self.notice: notice_html(item.status)}
            elif item.films:
                *plain, ours = item.films
                yield {
                    self.stage: item.stage,
                    self.results: item.results,
                    self.plain: gr.update(value=plain[0] if plain else None, visible=bool(plain)),
                    self.ours: gr.update(value=ours, label=method, visible=True),
                }
            else:
                yield {self.notice: "", self.stage: item.stage}


if __name__ == "__main__":
    sys.exit(page.run_alone(build_demo, FAMILY, "Videos in the making, by one model and by two."))
