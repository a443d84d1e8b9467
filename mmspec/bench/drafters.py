"""The drafters suite: trained drafters of one target side by side, on pictures and on clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmspec import choosing
from mmspec.bench import caption
from mmspec.bench.caption import CaptionBench
from mmspec.bench.caption_suite import bench_of, inputs_in_words, origin_of
from mmspec.bench.contenders import Contender, EngineContender
from mmspec.bench.plan import Settings
from mmspec.bench.race import Race
from mmspec.bench.records import Entry, Records
from mmspec.bench.suites import bar
from mmspec.engine import Engine


@dataclass(frozen=True)
class Loaded:
    """A drafter in its engine.

    Attributes:
        engine: With this drafter.
        method: Its kind of network.
        compressor: What shortens pictures for it.
        parameters: Of its network.
    """

    engine: Engine
    method: str
    compressor: str
    parameters: int


def measure(settings: Settings) -> Iterator[Records]:
    """Race the given drafters against the plain loop, greedily; half as many clips as pictures.

    Raises:
        ValueError: A folder holds no drafter of this target.
    """
    pictures = bench_of(settings, frames=0)
    clips = replace(pictures, frames=settings.frames, images=max(1, settings.size.inputs // 2))
    target = caption.load(pictures, caption.faster_dtype(pictures, caption.shown(pictures)))
    loaded = {folder: _load(pictures, target, folder) for folder in settings.drafters}
    for bench, title in ((pictures, "Pictures"), (clips, "Clips")):
        yield _raced(bench, target, title, loaded, settings)


def _load(bench: CaptionBench, target: Any, folder: str) -> Loaded:
    row, _ = choosing.choose(drafter=folder)
    engine = caption.engine_for(bench, target, row.name, folder, "fixed")
    network: Any = engine.drafter.network  # type: ignore[attr-defined]
    kept = network.compressor
    return Loaded(
        engine,
        network.kind,
        "none" if kept is None else kept.kind,
        sum(part.numel() for part in network.parameters()),
    )


def _raced(
    bench: CaptionBench,
    target: Any,
    title: str,
    loaded: Mapping[str, Loaded],
    settings: Settings,
) -> Records:
    images = caption.shown(bench)
    requests = caption.prepare(bench, target, images, 0.0)
    field: list[Contender] = [EngineContender(caption.BASELINE, Engine(target), "none")]
    field += [
        EngineContender(folder, one.engine, one.method, one.compressor)
        for folder, one in loaded.items()
    ]
    race = Race(field, caption.BASELINE)
    with bar(title.lower(), bench.repeats * len(requests), settings) as tick:
        race.run(requests, bench.repeats, tick=tick)
    return Records(
        name=f"drafters-{title.lower()}",
        suite="drafters",
        layout="drafters",
        intro="Drafters of the same target, greedily",
        title=title,
        baseline=caption.BASELINE,
        size=inputs_in_words(bench, len(images)),
        provenance=origin_of(bench, images, target),
        entries=[_described(entry, loaded) for entry in race.entries()],
    )


def _described(entry: Entry, loaded: Mapping[str, Loaded]) -> Entry:
    """The entry under the folder's own name, with its size; the plain loop stays as it is."""
    if entry.name not in loaded:
        return entry
    parameters = loaded[entry.name].parameters
    return replace(entry, figures={"parameters": float(parameters)})
