"""The image tab: a picture fills in, plainly and by a method; what that cost is measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from demos import page
from demos.errors import Update, guarded, notice_html, waiting_html
from demos.image_race import MODELS, SPEEDS, Order, Studio, run
from demos.painter import FIDELITIES, classes_of, fidelity_words
from demos.serving import Machine, Waiting
from demos.settings import Settings
from mmspec import catalog
from mmspec.pipelines.image_options import Subject, subjects_of

TITLE, FAMILY = "Image", "image"
PROMPTS = (
    "a large red circle above a small blue square",
    "two stars on a mint background",
    "a striped green triangle to the left of a yellow diamond",
    "a dotted purple cross in the upper left corner",
)


def build_demo(settings: Settings | None = None, machine: Machine | None = None) -> gr.Blocks:
    """The tab as a page of its own.

    Args:
        settings: The model; the embedded ones by default.
        machine: Does the work; tabs of one page share it.
    """
    settings, machine = settings or Settings(), machine or Machine()
    studio = Studio(settings)
    with page.blocks("mmspec: image") as demo, gr.Row():
        with gr.Column(scale=4, min_width=320):
            wanted = _controls(studio)
            start, stop = page.run_buttons("Draw")
        with gr.Column(scale=8, min_width=480):
            tab = _Tab(
                studio,
                machine,
                notice=page.notice(),
                stage=page.html(_WELCOME, "mm-pane"),
                results=page.html("", "mm-pane"),
                slider=_slider(),
            )
        draw = guarded(tab.notice, tab.draw)
        page.connect(machine, start, stop, draw, wanted, tab.outputs)
    return demo


_WELCOME = (
    '<p class="mm-soft">Say what to draw. The picture fills in cell by cell: by the plain loop, '
    "one cell a pass of the model, and by a method that drafts many and keeps what fits.</p>"
)


def _slider() -> gr.ImageSlider:
    """Both pictures in one frame."""
    return gr.ImageSlider(
        label="plain on the left, the method on the right: pull the line",
        format="png",
        interactive=False,
        visible=False,
        max_height=420,
        buttons=["fullscreen"],
        elem_classes=["mm-slider"],
    )


def _controls(studio: Studio) -> list[Any]:
    """What a run is told, in the order of :func:`_paint`'s arguments."""
    first = studio.models[0]
    model = gr.Radio(studio.models, value=first, label="Model")
    classes = classes_of(first)
    with gr.Column(visible=not classes) as words:
        prompt = gr.Textbox(
            PROMPTS[0],
            label="Prompt" if first in MODELS else "Prompt, or the number of a class",
            max_length=4000,
            lines=2,
        )
        gr.Examples([[text] for text in PROMPTS], prompt, label="Prompts of the small world")
    number = gr.Dropdown(
        _choices(classes), value=0 if classes else None, label="Class", visible=bool(classes)
    )
    names = studio.methods(first)
    row = catalog.get(_default(names), "image")
    method = gr.Dropdown(names, value=row.name, label="Method", info=row.summary)
    knob = gr.Radio(
        list(FIDELITIES),
        value=FIDELITIES[2],
        label="Fidelity",
        info=fidelity_words(row, FIDELITIES[2]),
        interactive=not row.lossless,
        elem_classes=["mm-knob"],
    )
    speed = gr.Radio(
        list(SPEEDS), value=list(SPEEDS)[first in MODELS], label="Shown in (clocks stay real)"
    )
    with gr.Accordion("More", open=False):
        seed = gr.Number(1, label="Seed", precision=0, minimum=0, maximum=2**31)
        guidance = gr.Number(None, label="Guidance", info="empty: the model's own", minimum=0)
        temperature = gr.Number(
            None, label="Temperature", info="0 is greedy; empty: the model's own", minimum=0
        )
        length = gr.Number(
            None, label="Draft length", info="empty: the method's own", precision=0, minimum=1
        )
        beside = gr.Checkbox(True, label="Draw plainly beside it, to compare")
    model.change(
        partial(_other_model, studio), model, [words, number, method], queue=False, **page.PRIVATE
    )
    for changed in (method.change, knob.input):
        changed(_other_method, [method, knob], [method, knob], queue=False, **page.PRIVATE)
    return [model, prompt, number, method, knob, speed, seed, guidance, temperature, length, beside]


def _choices(classes: list[str]) -> list[tuple[str, int]]:
    return [(f"{index}: {name}", index) for index, name in enumerate(classes)]


def _default(names: list[str]) -> str:
    """The method that shows most: the exact one where it pays, else the one with a bound."""
    return next((name for name in ("scd", "cspd", "cspd-self") if name in names), names[0])


def _other_model(studio: Studio, model: str) -> tuple[Any, Any, Any]:
    """What can be asked of another model."""
    classes, names = classes_of(model), studio.methods(model)
    value = 0 if classes else None
    return (
        gr.update(visible=not classes),
        gr.update(choices=_choices(classes), value=value, visible=bool(classes)),
        gr.update(choices=names, value=_default(names)),
    )


def _other_method(name: str, fidelity: str) -> tuple[Any, Any]:
    """What a method and a setting of the knob mean."""
    method = catalog.get(name, "image")
    knob = {"info": fidelity_words(method, fidelity), "interactive": not method.lossless}
    return gr.update(info=method.summary), gr.update(**knob)


@dataclass(frozen=True)
class _Tab:
    """What runs when a drawing is started, and where on the page it shows."""

    studio: Studio
    machine: Machine
    notice: gr.HTML
    stage: gr.HTML
    results: gr.HTML
    slider: gr.ImageSlider

    @property
    def outputs(self) -> list[Any]:
        """All that a run writes, the notice first."""
        return [self.notice, self.stage, self.results, self.slider]

    def draw(
        self,
        model: str,
        prompt: str | None,
        number: int | None,
        method: str,
        fidelity: str,
        speed: str,
        seed: float | None,
        guidance: float | None,
        temperature: float | None,
        length: float | None,
        beside: bool,
        request: gr.Request,
    ) -> Iterator[Update]:
        """Check what was asked for, then follow the drawing."""
        order = Order(
            model=model,
            subject=_subject(model, prompt or "", number),
            method=method,
            fidelity=fidelity,
            seed=int(seed or 0),
            beside=beside,
            speed=speed,
            guidance=guidance,
            temperature=temperature,
            length=None if length is None else int(length),
        )
        order.options()
        yield {self.results: "", self.slider: gr.update(visible=False)}
        work = partial(run, self.studio, order)
        yield from self._follow(self.machine.watch(page.session(request), work), speed)

    def _follow(self, items: Iterator[Any], speed: str) -> Iterator[Update]:
        for item in items:
            if isinstance(item, Waiting):
                yield {self.notice: waiting_html(item)}
            elif item.status:
                yield {self.notice: notice_html(item.status)}
            elif item.results:
                pictures = gr.update(value=item.pair, visible=item.pair is not None)
                yield {self.stage: item.stage, self.results: item.results, self.slider: pictures}
            else:
                yield {self.notice: "", self.stage: item.stage}
                time.sleep(SPEEDS[speed][1])


def _subject(model: str, prompt: str, number: int | None) -> Subject:
    """What is to be drawn, checked as far as that goes without the model.

    Raises:
        ValueError: Nothing, too much, or words that an embedded model does not know.
    """
    if classes_of(model):
        return subjects_of(None, 0 if number is None else number, model)[0]
    if prompt.strip().isdecimal() and model not in MODELS:
        return subjects_of(None, int(prompt), model)[0]
    return subjects_of(prompt.strip(), None, model)[0]


if __name__ == "__main__":
    sys.exit(page.run_alone(build_demo, FAMILY, "Pictures in the making, plainly and faster."))
