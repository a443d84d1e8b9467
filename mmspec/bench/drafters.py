"""The drafters suite: trained drafters of one target side by side, on pictures and on clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.bench import caption
from mmspec.bench.caption import CaptionBench
from mmspec.bench.contenders import Contender, EngineContender
from mmspec.bench.race import Race, Standing
from mmspec.engine import Engine

CLIP_FRAMES = 16


@dataclass(frozen=True)
class Drafted:
    """One drafter, measured.

    Attributes:
        name: Its folder.
        method: Its row in the catalog.
        compressor: What shortens pictures for it.
        parameters: Of its network.
        pictures: Its line in the race on pictures.
        clips: Its line in the race on clips.
    """

    name: str
    method: str
    compressor: str
    parameters: int
    pictures: Standing
    clips: Standing


def measure_drafters(
    bench: CaptionBench, target: Any, folders: Sequence[str], progress: bool
) -> Iterator[Drafted]:
    """Race the drafters of ``folders`` against the plain loop, greedily.

    Args:
        bench: Model, inputs and repeats; half as many clips as pictures are taken.
        target: The loaded target.
        folders: Trained drafters of this target.
        progress: Show a bar.

    Raises:
        ValueError: A folder holds no drafter of this target.
    """
    engines = {str(folder): _engine(bench, target, str(folder)) for folder in folders}
    clips = replace(bench, frames=bench.frames or CLIP_FRAMES, images=max(1, bench.images // 2))
    tables = [_race(one, target, engines, progress) for one in (replace(bench, frames=0), clips)]
    for (folder, engine), pictures, moving in zip(
        engines.items(), *(table[1:] for table in tables), strict=True
    ):
        network: Any = engine.drafter.network
        kept = network.compressor
        yield Drafted(
            name=Path(folder).name,
            method=network.kind,
            compressor="none" if kept is None else kept.kind,
            parameters=sum(part.numel() for part in network.parameters()),
            pictures=pictures,
            clips=moving,
        )


def _engine(bench: CaptionBench, target: Any, folder: str) -> Engine:
    row, _ = catalog.choose(drafter=folder)
    return caption.engine_for(bench, target, row.name, folder, "fixed")


def _race(
    bench: CaptionBench, target: Any, engines: dict[str, Engine], progress: bool
) -> list[Standing]:
    from tqdm.auto import tqdm

    requests = caption.prepare(bench, target, caption.shown(bench), 0.0)
    field: list[Contender] = [EngineContender(caption.BASELINE, Engine(target))]
    field += [EngineContender(name, engine) for name, engine in engines.items()]
    race = Race(field, caption.BASELINE)
    title = "clips" if bench.frames else "pictures"
    with tqdm(total=bench.repeats * len(requests), disable=not progress, desc=title) as bar:
        race.run(requests, bench.repeats, tick=bar.update)
    return race.standings()


def markdown(rows: Sequence[Drafted]) -> str:
    """The table."""
    lines = [
        "| drafter | compressor | parameters | tau, pictures | speedup | tau, clips | speedup |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.method} | {row.compressor} | {row.parameters:,} "
        f"| {row.pictures.acceptance_length:.2f} | {row.pictures.speedup} "
        f"| {row.clips.acceptance_length:.2f} | {row.clips.speedup} |"
        for row in rows
    ]
    return "\n".join(lines)
