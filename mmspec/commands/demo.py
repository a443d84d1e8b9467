"""`mmspec demo`: the web page that shows the methods at work."""

from __future__ import annotations

import argparse
import importlib

from mmspec import catalog
from mmspec.commands.console import UsageError, hush_libraries
from mmspec.commands.values import add_machine, whole

HOST = "127.0.0.1"
# What some models need beside themselves, by family: options of the commands of the same names.
PARTS: dict[str, dict[str, str]] = {
    "image": {
        "vq": "image tokenizer of an official LlamaGen transformer",
        "vae": "autoencoder of an official MAR network",
        "text_encoder": "T5 encoder of an official LlamaGen text model",
    },
    "video": {
        "shared": "autoencoder and text encoder, where they are not with the model",
        "preset": "how the models are run: self-forcing, causvid or krea",
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    group = parser.add_argument_group("models; the embedded ones are loaded by the first run")
    for family, what, prefix in (
        ("text", "captions", ""),
        ("image", "draws pictures", "image-"),
        ("video", "makes videos", "video-"),
    ):
        known = list(catalog.embedded(family))
        group.add_argument(
            f"--{prefix}model",
            default=known[0],
            help=f"what {what}: {', '.join(known)}, a folder or a Hub id (default: %(default)s)",
        )
        group.add_argument(f"--{prefix}drafter", metavar="PATH", help="its drafter")
        add_parts(group, family, prefix)
    group.add_argument("--revision", help="revision of a Hub model that captions")
    add_machine(parser)
    add_serving(parser)


def add_parts(group: argparse._ArgumentGroup, family: str, prefix: str = "") -> None:
    """Options for what the models of a family may need beside themselves."""
    for name, about in PARTS.get(family, {}).items():
        metavar = "NAME" if name == "preset" else "PATH"
        group.add_argument(f"--{prefix}{name.replace('_', '-')}", metavar=metavar, help=about)


def add_serving(parser: argparse.ArgumentParser) -> None:
    """Options of everything that serves a page."""
    group = parser.add_argument_group("page")
    group.add_argument(
        "--host",
        default=HOST,
        help="address to listen on; others than %(default)s let other machines in",
    )
    group.add_argument(
        "--port", type=whole(1, 65_535), help="port (default: the first free one from 7860 on)"
    )
    group.add_argument("--open", action="store_true", help="open the page in a browser")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    try:
        importlib.import_module("gradio")
    except ImportError:
        raise UsageError('the demo needs Gradio: pip install "mmspec[demo]"') from None
    hush_libraries()
    catalog.resolve("demos.app:serve")(args)
    return 0
