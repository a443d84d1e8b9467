"""The suite of pictures from discrete tokens: every method, and curves of what relaxes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mmspec.bench import image
from mmspec.bench.caption_suite import dtype_of
from mmspec.bench.contenders import Contender, EngineContender
from mmspec.bench.image import ImageBench
from mmspec.bench.plan import Settings
from mmspec.bench.provenance import provenance
from mmspec.bench.race import Race
from mmspec.bench.records import Entry, Records
from mmspec.bench.suites import bar, how_many
from mmspec.engine import Engine


@dataclass(frozen=True)
class Table:
    """A table to be measured: where it is shown, and who takes part.

    Attributes:
        name: Of the records.
        layout: How they are shown.
        entries: Method, knob and engine of each beside the plain loop.
        limits: Entries that draw the first so many pictures only, by name.
        title: Of the table.
        suite: Block that shows it; its own where none is given.
    """

    name: str
    layout: str
    entries: Sequence[tuple[str, str, Engine]]
    limits: Mapping[str, int]
    title: str = ""
    suite: str = ""


def measure(settings: Settings) -> Iterator[Records]:
    """Every method at its defaults, then, in full, what relaxes them from little to much."""
    bench = bench_of(settings, "tiny")
    target = image.load(bench)
    entries = image.entries_at_defaults(bench, target)
    records = drawn(bench, target, Table("image", "image", entries, {}), settings)
    if settings.size.points:
        yield replace(records, entries=_with_batches(bench, target, records.entries))
        few = replace(bench, repeats=1, images=settings.size.points)
        curves = Table("image-curves", "image-curves", image.entries_by_knob(few, target), {})
        yield drawn(few, target, curves, settings)
    else:
        yield records


def bench_of(settings: Settings, model: str) -> ImageBench:
    """The settings in this suite's terms, with its own embedded model."""
    size = settings.size
    return ImageBench(model=settings.model or model, images=size.inputs, repeats=size.repeats)


def drawn(bench: ImageBench, target: Any, table: Table, settings: Settings) -> Records:
    """Race methods against the plain loop, one picture at a time, and judge every picture.

    Args:
        bench: Prompts, repeats and sampling.
        target: The loaded target.
        table: What is measured.
        settings: Whether there is a bar.
    """
    subjects = image.subjects_of(bench, target)
    plain = image.engine_for(bench, target, "none")
    field: list[Contender] = [EngineContender(image.BASELINE, plain, "none")]
    for method, knob, engine in table.entries:
        field.append(EngineContender(f"{method} {knob}".strip(), engine, method, knob))
    race = Race(field, image.BASELINE, table.limits)
    requests = [image.request_for(bench, target, [subject]) for subject in subjects]
    with bar(table.name, bench.images * bench.repeats, settings) as tick:
        race.run(requests, bench.repeats, 1, tick)
    labels = (subject.label.encode() for subject in subjects)
    return Records(
        name=table.name,
        suite=table.suite or table.name,
        layout=table.layout,
        intro=_intro(bench, target),
        title=table.title,
        baseline=image.BASELINE,
        size=f"{_count(bench, target)}, {how_many(bench.repeats, 'repeat')}",
        provenance=provenance(asdict(bench), labels, dtype_of(target), str(target.device)),
        entries=[_judged(target, subjects, race, entry) for entry in race.entries()],
    )


def _judged(target: Any, subjects: Sequence[Any], race: Race, entry: Entry) -> Entry:
    """The entry with what the judge says of its pictures."""
    ids = [rows[0] for rows in race.ids[entry.name]]
    return replace(entry, values=image.judged(target, subjects[: len(ids)], ids))


def _with_batches(bench: ImageBench, target: Any, entries: Sequence[Entry]) -> list[Entry]:
    """The plain loop and the best exact method, with what a batch saves them."""
    if bench.images < image.BATCH:
        return list(entries)
    ratios = {
        name: image.batch_ratio(bench, target, image.engine_for(bench, target, name))
        for name in ("none", "scd")
    }
    return [
        replace(entry, figures={"batch_ratio": ratios[entry.method]})
        if entry.method in ratios
        else entry
        for entry in entries
    ]


def _intro(bench: ImageBench, target: Any) -> str:
    kind = "text-to-image model" if target.classes is None else "model of classes"
    who = f"the embedded {kind} `{bench.model}`"
    settings = target.parameters(
        {"guidance_scale": bench.guidance_scale, "temperature": bench.temperature}
    )
    return f"Pictures of {who}, one at a time, guidance {settings['guidance_scale']:g}"


def _count(bench: ImageBench, target: Any) -> str:
    if target.classes is None:
        return how_many(bench.images, "prompt")
    return f"{how_many(bench.images, 'picture')} of {len(target.classes)} classes"
