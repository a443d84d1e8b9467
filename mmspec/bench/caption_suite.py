"""The suites of captions: pictures, clips, and what ``auto`` does in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from mmspec.bench import caption
from mmspec.bench.caption import CaptionBench
from mmspec.bench.contenders import Contender
from mmspec.bench.plan import CLIP_FRAMES, Settings
from mmspec.bench.provenance import provenance
from mmspec.bench.race import Race
from mmspec.bench.records import Records
from mmspec.bench.suites import bar, how_many

BATCHES = (1, 4, 16)


def measure(settings: Settings) -> Iterator[Records]:
    """Every method on pictures, a table a temperature."""
    temperatures = settings.temperatures or (0.0, 1.0)
    bench = bench_of(settings, frames=0)
    yield from _tables(bench, settings, "caption", [(t, 1) for t in temperatures])


def measure_clips(settings: Settings) -> Iterator[Records]:
    """Every method on clips, greedily unless temperatures were given."""
    frames = settings.frames
    suite = "caption-video" if frames == CLIP_FRAMES else f"caption-video-{frames}"
    bench = bench_of(settings, frames)
    yield from _tables(bench, settings, suite, [(t, 1) for t in settings.temperatures or (0.0,)])


def measure_pacing(settings: Settings) -> Iterator[Records]:
    """``auto`` against the plain loop, a table a batch size, greedily."""
    bench = bench_of(settings, frames=0)
    runs = [(0.0, batch) for batch in BATCHES]
    yield from _tables(bench, settings, "pacing", runs, caption.pacing_contenders)


def bench_of(settings: Settings, frames: int) -> CaptionBench:
    """The settings in this suite's terms."""
    return CaptionBench(
        model=settings.model or "tiny",
        data=settings.data,
        images=settings.size.inputs,
        frames=frames,
        repeats=settings.size.repeats,
        max_new_tokens=settings.max_new_tokens,
        dtype=settings.dtype,
        prompt=settings.prompt,
        drafter=settings.drafter,
    )


def origin_of(bench: CaptionBench, images: Sequence[Sequence[Any]], target: Any) -> dict[str, Any]:
    """The provenance of a run over these pictures."""
    frames = (frame.tobytes() for one in images for frame in one)
    return provenance(asdict(bench), frames, dtype_of(target), str(target.device))


def dtype_of(target: Any) -> str:
    """The target's number format by its short name."""
    return str(target.dtype).removeprefix("torch.")


def _tables(
    bench: CaptionBench,
    settings: Settings,
    suite: str,
    runs: Sequence[tuple[float, int]],
    contenders: Callable[[CaptionBench, Any], list[Contender]] = caption.contenders,
) -> Iterator[Records]:
    """One table for every temperature and batch size."""
    images = caption.shown(bench)
    dtype = caption.faster_dtype(bench, images)
    target = caption.load(bench, dtype)
    for temperature, batch in runs:
        requests = caption.prepare(bench, target, images, temperature, batch)
        race = Race(contenders(bench, target), caption.BASELINE)
        mode = "Greedy" if temperature == 0 else f"Temperature {temperature:g}"
        title = mode if suite != "pacing" else f"Batch {batch}"
        with bar(f"{suite}, {title}", bench.repeats * len(requests), settings) as tick:
            race.run(requests, bench.repeats, tick=tick)
        asked = replace(bench, temperatures=(temperature,))
        yield Records(
            name=f"{suite}-{title.lower().replace(' ', '-')}",
            suite=suite,
            layout="text",
            intro=_intro(bench, suite),
            title=title,
            baseline=caption.BASELINE,
            size=inputs_in_words(bench, len(images)),
            provenance=origin_of(asked, images, target),
            entries=race.entries(),
        )


def inputs_in_words(bench: CaptionBench, count: int) -> str:
    """How many pictures or clips, and repeats."""
    what = f"{how_many(count, 'clip')} of {bench.frames} frames" if bench.frames else ""
    return f"{what or how_many(count, 'picture')}, {how_many(bench.repeats, 'repeat')}"


def _intro(bench: CaptionBench, suite: str) -> str:
    who = "The embedded captioner" if bench.model == "tiny" else bench.model
    if suite == "pacing":
        return f"{who} with `auto`, greedily, in batches"
    kind = "clips" if bench.frames else "pictures"
    seen = f"unseen {kind}" if bench.data is None else f"{kind} of {bench.data}"
    return f"{who} on {seen}, one at a time"
