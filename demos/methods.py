"""The methods tab: the catalog, what each method promises and what it needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

import gradio as gr

from demos import page
from demos.errors import escape
from demos.serving import Machine
from demos.settings import Settings
from mmspec import catalog
from mmspec.catalog import Method

TITLE, FAMILY = "Methods", "methods"
_ALL = "All"
_FAMILIES = {"Text from pictures": "text", "Pictures": "image", "Video": "video"}
_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
_CODE = re.compile(r"`([^`]+)`")


def build_demo(settings: Settings | None = None, machine: Machine | None = None) -> gr.Blocks:
    """The catalog as tables, one a family.

    Args:
        settings: Not used; every tab is built the same way.
        machine: Not used; nothing runs here.
    """
    with page.blocks("mmspec: methods") as demo:
        family = gr.Radio([_ALL, *_FAMILIES], value=_ALL, label="Show", elem_classes=["mm-filter"])
        table = page.html(tables_html(_ALL))
        family.change(
            tables_html,
            family,
            table,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
    return demo


def tables_html(chosen: str) -> str:
    """Tables of the chosen family, or of all of them."""
    shown = {chosen: _FAMILIES[chosen]} if chosen in _FAMILIES else _FAMILIES
    return _promises(shown.values()) + "".join(_table(*pair) for pair in shown.items())


def _promises(families: Iterable[str]) -> str:
    """What the badges mean: every certificate once."""
    found = dict.fromkeys(row.certificate for name in families for row in catalog.methods(name))
    lines = "".join(
        f"<li>{_badge(text)} {escape(text.partition(': ')[2].rstrip('.'))}</li>" for text in found
    )
    return f'<ul class="mm-promises">{lines}</ul>'


def _table(title: str, family: str) -> str:
    rows = "".join(_row(method) for method in catalog.methods(family))
    heads = ("Method", "How it drafts", "Output", "What it needs", "Source")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        f'<section class="mm-methods"><h2>{escape(title)}</h2><div class="mm-scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _row(method: Method) -> str:
    cells = (
        f"<code>{escape(method.name)}</code>",
        escape(method.summary),
        _badge(method.certificate),
        f"{_code(method.needs)}{_included(method)}",
        _paper(method.paper),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _badge(certificate: str) -> str:
    kind = certificate.partition(": ")[0]
    tone = {"exact": "good", "relaxed": "warn"}.get(kind, "bad")
    return f'<span class="mm-badge {tone}" title="{escape(certificate)}">{escape(kind)}</span>'


def _included(method: Method) -> str:
    """Which embedded models have the drafter that a method needs."""
    found = [
        name for name, parts in catalog.embedded(method.family).items() if method.name in parts
    ]
    if not (method.trained and found):
        return ""
    return f'<span class="mm-soft">comes with <code>{escape(", ".join(found))}</code></span>'


def _code(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _paper(text: str) -> str:
    """The source, with links to arXiv."""
    link = r'<a href="https://arxiv.org/abs/\1" target="_blank" rel="noopener">arXiv \1</a>'
    return _ARXIV.sub(link, escape(text))


if __name__ == "__main__":
    sys.exit(page.run_alone(build_demo, "text", "The catalog of methods."))
