"""The visual-tokens suite: what a drafter pays for pictures, as clips get longer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mmspec import catalog
from mmspec.bench.caption import CaptionBench, engine_for, prepare
from mmspec.trace import Trace

FRAMES = (2, 16, 80)
_WARM_UP = 2  # rounds: the prefill, and the first draft, which reads the prompt


@dataclass(frozen=True)
class Growth:
    """One drafter on clips of one length.

    Attributes:
        method: Its row in the catalog.
        visual_tokens: Placeholders in the prompt.
        first_draft: Milliseconds of the first draft, which reads the prompt.
        round_draft: Milliseconds of a later draft, the median over rounds and repeats.
        cache_bytes: Keys and values in use after the last round.
        parameters: Of the drafter's network.
    """

    method: str
    visual_tokens: int
    first_draft: float
    round_draft: float
    cache_bytes: int
    parameters: int


def measure_growth(bench: CaptionBench, target: Any, tick: Any = None) -> Iterator[Growth]:
    """Draft for one clip of every length, with every drafter on hidden states there is.

    Args:
        bench: Model, repeats and length of the answer.
        target: The loaded target; its pictures must all cost the same number of tokens.
        tick: Called after every run.
    """
    clips = catalog.resolve("adapters.tiny.world.clips:long_caption_clips")(1)
    render = catalog.resolve("adapters.tiny.world.render:render_clip")
    for frames in FRAMES:
        request = prepare(bench, target, [render(clips[0], frames)], 0.0)[0]
        for row in catalog.methods("text"):
            drafter = catalog.embedded_folder(bench.model, row.name)
            if drafter is None:
                continue
            engine: Any = engine_for(bench, target, row.name, drafter, "fixed")
            if not getattr(engine.drafter, "needs_features", False):
                continue
            first, later = [], []
            for _ in range(bench.repeats):
                trace = Trace()
                engine.generate(request, trace, seeds=[0])
                drafts = [1000 * record.seconds["draft"] for record in trace.rounds]
                first.append(drafts[1])
                later += drafts[_WARM_UP:]
                if tick is not None:
                    tick()
            tokens = request.inputs["input_ids"]
            yield Growth(
                method=row.name,
                visual_tokens=sum(int((tokens == one).sum()) for one in target.image_token_ids),
                first_draft=median(first),
                round_draft=median(later),
                cache_bytes=engine.drafter.cache_bytes,
                parameters=sum(part.numel() for part in engine.drafter.network.parameters()),
            )


def markdown(rows: Sequence[Growth]) -> str:
    """The table."""
    lines = [
        "| method | visual tokens | first draft, ms | later drafts, ms | cache, kB | parameters |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.method} | {row.visual_tokens:,} | {row.first_draft:.1f} | {row.round_draft:.2f} "
        f"| {row.cache_bytes / 1e3:,.0f} | {row.parameters:,} |"
        for row in sorted(rows, key=lambda row: row.method)
    ]
    return "\n".join(lines)


def plot(rows: Sequence[Growth], path: Path) -> None:
    """Time of a draft and size of the cache over the number of visual tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    fields = ("first_draft", "round_draft", "cache_bytes")
    titles = ("first draft, ms", "later drafts, ms", "cache, bytes")
    for method in sorted({row.method for row in rows}):
        own = [row for row in rows if row.method == method]
        for panel, name in zip(panels, fields, strict=True):
            heights = [getattr(row, name) for row in own]
            panel.plot([row.visual_tokens for row in own], heights, marker="o", label=method)
    for panel, title in zip(panels, titles, strict=True):
        panel.set(title=title, xlabel="visual tokens", xscale="log", ylim=(0, None))
    panels[0].legend()
    figure.savefig(path, dpi=110)
