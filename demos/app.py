"""All tabs on one page; `mmspec demo` serves it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import ModuleType

import gradio as gr

from demos import caption, image, methods, page, video
from demos.serving import Machine
from demos.settings import Settings

# Modules with TITLE, FAMILY and build_demo(settings, machine), in the order of the tabs.
TABS: tuple[ModuleType, ...] = (caption, image, video, methods)

_HEAD = (
    '<header class="mm-head"><h1>mmspec</h1><p>A cheap drafter proposes, the model checks the '
    "whole proposal in one pass, and only what it would have written itself stays.</p></header>"
)


def build_demo(
    settings: Mapping[str, Settings] | None = None, machine: Machine | None = None
) -> gr.Blocks:
    """The page with all tabs; they share one machine, so that runs are served in turn.

    Args:
        settings: Model of a tab by its family; tabs without one take their embedded model.
        machine: Does the work.
    """
    machine = machine or Machine()
    with page.blocks("mmspec") as demo:
        page.html(_HEAD)
        with gr.Tabs(elem_classes=["mm-tabs"]):
            for tab in TABS:
                name = tab.TITLE.lower()
                with gr.Tab(tab.TITLE, id=name, elem_classes=[f"mm-tab-{name}"]):
                    tab.build_demo((settings or {}).get(tab.FAMILY), machine)
    return demo


def serve(args: argparse.Namespace) -> None:
    """What `mmspec demo` does, until Ctrl-C."""
    settings = {tab.FAMILY: Settings.of(args, tab.FAMILY) for tab in TABS if tab is not methods}
    page.launch(build_demo(settings, Machine(args.threads)), args.host, args.port, args.open)
