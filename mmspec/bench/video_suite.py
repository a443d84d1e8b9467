"""The suite of films: every router at several settings, judged frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from mmspec import catalog
from mmspec.bench import video
from mmspec.bench.caption_suite import dtype_of
from mmspec.bench.contenders import Contender
from mmspec.bench.plan import Settings
from mmspec.bench.provenance import provenance
from mmspec.bench.race import Race
from mmspec.bench.records import Entry, Records
from mmspec.bench.suites import bar, how_many
from mmspec.bench.video import VideoBench, VideoContender


def measure(settings: Settings) -> Iterator[Records]:
    """One table: the target alone, the drafter alone, and all routers between them."""
    size = settings.size
    bench = VideoBench(settings.model or "tiny-video", size.inputs, size.repeats)
    target, drafter = video.load(bench)
    yield filmed(bench, target, drafter, settings)


def filmed(bench: VideoBench, target: Any, drafter: Any, settings: Settings) -> Records:
    """Race the routers, one film at a time, and judge every film.

    Args:
        bench: Prompts and repeats.
        target: The loaded target.
        drafter: The loaded drafter.
        settings: Whether there is a bar.
    """
    field = _field(bench, target, drafter)
    race = Race(field, video.BASELINE)
    prompts = video.prompts_of(bench, 0, bench.films)
    requests = [video.request_for(target, prompt) for prompt in prompts]
    with bar("video", bench.films * bench.repeats, settings) as tick:
        race.run(requests, bench.repeats, 1, tick)
    blocks = target.defaults.blocks
    return Records(
        name="video",
        suite="video",
        layout="video",
        intro=(
            f"Films of the embedded model `{bench.model}`, one at a time; the reward is the judge "
            "that also measures quality"
        ),
        title="",
        baseline=video.BASELINE,
        size=(
            f"{how_many(bench.films, 'prompt')}, {blocks} blocks each, "
            f"{how_many(bench.repeats, 'repeat')}"
        ),
        provenance=provenance(
            asdict(bench),
            (prompt.encode() for prompt in prompts),
            dtype_of(target),
            str(target.device),
        ),
        entries=[
            _numbered(entry, contender)
            for entry, contender in zip(race.entries(), field, strict=True)
        ],
    )


def _field(bench: VideoBench, target: Any, drafter: Any) -> list[Contender]:
    """The target alone, then every router; thresholds come from prompts that are not measured."""
    reward = catalog.resolve(catalog.REWARDS[video.REWARD])()
    others = video.prompts_of(bench, bench.films, video.CALIBRATION_FILMS)
    judge = video.Judge()
    plain = video.engine_for(target, drafter, "none", {})
    field: list[Contender] = [VideoContender(video.BASELINE, plain, judge, "none")]
    for one in video.settings_of(target, drafter, reward, others):
        engine = one.engine(target, drafter)
        other = one.name if one.other_drafter else ""
        field.append(VideoContender(one.name, engine, judge, one.label, one.knob, other))
    return field


def _numbered(entry: Entry, contender: Any) -> Entry:
    """The entry with the numbers of every film."""
    films = [contender.numbers[seed] for seed in range(entry.inputs)]
    return replace(entry, values={name: [film[name] for film in films] for name in films[0]})
