"""The visual-tokens suite: what a drafter pays for pictures, as clips get longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from mmspec import catalog
from mmspec.bench.caption import (
    CaptionBench,
    engine_for,
    faster_dtype,
    load,
    prepare,
    shown,
)
from mmspec.bench.caption_suite import bench_of, origin_of
from mmspec.bench.plan import Settings
from mmspec.bench.records import Entry, Records
from mmspec.bench.suites import bar, how_many
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
        runs: Seconds and tokens of each repeat, all rounds included.
    """

    method: str
    visual_tokens: int
    first_draft: float
    round_draft: float
    cache_bytes: int
    parameters: int
    runs: list[tuple[float, int]]

    @property
    def entry(self) -> Entry:
        """As a line of records."""
        figures = {
            "visual_tokens": float(self.visual_tokens),
            "first_draft": self.first_draft,
            "round_draft": self.round_draft,
            "cache_kilobytes": self.cache_bytes / 1e3,
            "parameters": float(self.parameters),
        }
        name = f"{self.method} {self.visual_tokens}"
        cells = [[run] for run in self.runs]
        return Entry(name, cells, self.method, f"{self.visual_tokens}", figures=figures)


def measure(settings: Settings) -> Iterator[Records]:
    """Every drafter on hidden states, on clips of every length."""
    bench = bench_of(settings, settings.frames)
    images = shown(bench)
    target = load(bench, faster_dtype(bench, images))
    with bar("visual tokens", None, settings) as tick:
        rows = list(measure_growth(bench, target, tick))
    yield Records(
        name="visual-tokens",
        suite="visual-tokens",
        layout="visual-tokens",
        intro="Drafting for one clip of 2, 16 and 80 frames",
        title="",
        baseline="",
        size=how_many(bench.repeats, "repeat"),
        provenance=origin_of(bench, images, target),
        entries=[row.entry for row in sorted(rows, key=lambda row: row.method)],
    )


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
            first, later, runs = [], [], []
            for _ in range(bench.repeats):
                trace = Trace()
                engine.generate(request, trace, seeds=[0])
                drafts = [1000 * record.seconds["draft"] for record in trace.rounds]
                first.append(drafts[1])
                later += drafts[_WARM_UP:]
                runs.append((trace.seconds, trace.metrics.tokens))
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
                runs=runs,
            )
