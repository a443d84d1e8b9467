"""The suite of pictures from latent vectors: modes, lengths, bounds, and the masked model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mmspec.bench import image, latent
from mmspec.bench.image_suite import Table, bench_of, drawn
from mmspec.bench.latent import Entry
from mmspec.bench.plan import Settings
from mmspec.bench.records import Records

SUITE = "image-continuous"


def measure(settings: Settings) -> Iterator[Records]:
    """Every mode at its defaults; in full also lengths of drafts, bounds, and the masked model."""
    bench = bench_of(settings, "tiny-mar")
    target = image.load(bench)
    modes = latent.entries_by_mode(bench, target)
    yield drawn(bench, target, _table(SUITE, "latents", modes, settings), settings)
    if not settings.size.points:
        return
    few = replace(bench, repeats=1, images=settings.size.points)
    lengths = latent.entries_by_length(few, target)
    yield drawn(
        few, target, _table(f"{SUITE}-lengths", "latent-lengths", lengths, settings), settings
    )
    knobs = latent.entries_by_knob(few, target)
    yield drawn(few, target, _table(f"{SUITE}-knobs", "latent-curves", knobs, settings), settings)
    if settings.model is None:
        masked = replace(few, model=latent.MASKED)
        other: Any = image.load(masked)
        entries = latent.entries_masked(masked, other)
        yield drawn(masked, other, _table("image-masked", "latents", entries, settings), settings)
        fewer = replace(masked, images=max(settings.size.points // 2, 1))
        entries = latent.entries_masked_by_length(fewer, other)
        table = _table("image-masked-lengths", "latent-lengths", entries, settings)
        yield drawn(fewer, other, table, settings)


def _table(name: str, layout: str, entries: Sequence[Entry], settings: Settings) -> Table:
    """A table whose slow modes draw as few pictures as the plan says."""
    slow = settings.size.slow
    few = min(slow, settings.size.points) // 2 if name.endswith("-lengths") else slow
    limits = {
        f"{method} {knob}".strip(): max(few, 1)
        for method, knob, _ in entries
        if slow and method in latent.SLOW
    }
    return Table(name, layout, entries, limits)
