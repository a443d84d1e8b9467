"""The look of the page and how it is served: theme, styles, limits, 127.0.0.1 by default."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from demos.errors import notice_html, sentence
from demos.serving import Machine
from demos.settings import Settings
from mmspec.allocator import keep_freed_memory
from mmspec.catalog import embedded_folder
from mmspec.commands.console import hush_libraries
from mmspec.commands.demo import HOST, add_parts, add_serving
from mmspec.commands.values import add_machine, add_model
from mmspec.media import MediaLimits

MAX_FILE_BYTES = 64 * 2**20
# What an upload may cost: tighter than the command line's, since anybody who sees the page may try.
LIMITS = MediaLimits(max_file_bytes=MAX_FILE_BYTES, max_seconds=600.0, max_clip_pixels=2**26)
UPLOADS_KEPT = (600, 3600)  # every 10 minutes, uploads older than an hour are deleted
PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_STYLES = sorted(Path(__file__).parent.glob("*.css"))
_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")


def blocks(title: str) -> gr.Blocks:
    """An empty page; nothing about it is sent anywhere."""
    return gr.Blocks(title=title, analytics_enabled=False, delete_cache=UPLOADS_KEPT)


def html(value: str = "", *classes: str) -> gr.HTML:
    """A part of the page that is drawn here rather than by Gradio; its text must be escaped."""
    return gr.HTML(value, elem_classes=list(classes), padding=False, apply_default_css=False)


def notice() -> gr.HTML:
    """The place for sentences; see :func:`demos.errors.guarded`."""
    return html("", "mm-notices")


def run_buttons(label: str) -> tuple[gr.Button, gr.Button]:
    """The button that starts a run and the one that stops it."""
    with gr.Row(elem_classes=["mm-buttons"]):
        run = gr.Button(label, variant="primary", scale=3, min_width=120)
        stop = gr.Button("Stop", variant="secondary", scale=1, min_width=80)
    return run, stop


def connect(
    machine: Machine,
    run: gr.Button,
    stop: gr.Button,
    handler: Callable[..., Any],
    inputs: list[Any],
    outputs: list[Any],
) -> None:
    """Wire a run to its two buttons.

    Viewers wait in the machine's line rather than in Gradio's, so that they are told their place.

    Args:
        machine: Serves the run.
        run: Starts it.
        stop: Stops whatever run the page has.
        handler: A guarded handler; its last argument is the ``gr.Request``.
        inputs: What the handler reads.
        outputs: What it writes; the notice comes first.
    """

    def halt(request: gr.Request) -> Any:
        running = machine.stop(session(request))
        return gr.skip() if running else notice_html("Nothing is running.")

    run.click(handler, inputs, outputs, concurrency_limit=None, **PRIVATE)
    stop.click(halt, None, outputs[:1], queue=False, **PRIVATE)


def session(request: gr.Request) -> str:
    """Who asks: one open page."""
    return str(request.session_hash)


def launch(
    demo: gr.Blocks,
    host: str = HOST,
    port: int | None = None,
    browser: bool = False,
    **options: Any,
) -> Any:
    """Serve a page.

    Args:
        demo: What ``build_demo()`` returned.
        host: Address to listen on; ``127.0.0.1`` is this machine only.
        port: None takes the first free one from 7860 on.
        browser: Open the page in one.
        **options: More of ``gr.Blocks.launch``.

    Returns:
        What ``gr.Blocks.launch`` returns: app, local address, public address.
    """
    return demo.queue(max_size=64).launch(
        server_name=host,
        server_port=port,
        inbrowser=browser,
        share=False,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        max_file_size=MAX_FILE_BYTES,
        show_error=True,
        footer_links=["settings"],
        allowed_paths=[str(path.parent) for path in samples()[:1]],
        theme=theme(),
        css_paths=[*_STYLES],
        **options,
    )


def theme() -> gr.themes.Base:
    """Quiet colours and the system's own fonts; no font is fetched."""
    return gr.themes.Base(
        primary_hue="emerald", secondary_hue="sky", neutral_hue="slate", font=_FONT
    ).set(
        block_border_width="1px",
        block_label_text_weight="500",
        body_text_color_subdued="*neutral_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_text_color="white",
    )


def run_alone(build: Callable[..., gr.Blocks], family: str, about: str) -> int:
    """The command line of one tab on its own; ends with Ctrl-C.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    add_parts(add_model(parser, family), family)
    add_machine(parser)
    add_serving(parser)
    args = parser.parse_args()
    keep_freed_memory()
    hush_libraries()
    try:
        demo = build(Settings.of(args, family, prefix=""), Machine(args.threads))
        launch(demo, args.host, args.port, args.open)
    except Exception as error:
        sys.stderr.write(f"error: {sentence(error)}\n")
        return 1
    return 0


def samples() -> list[Path]:
    """Pictures and clips that come with the package."""
    folder = embedded_folder("tiny", "model")
    assert folder is not None, "the embedded model is part of the package"
    found = (folder.parents[1] / "samples").iterdir()
    return sorted((path for path in found if not path.name.startswith(".")), key=_clips_last)


def _clips_last(path: Path) -> tuple[bool, str]:
    return path.suffix == ".mp4", path.name
