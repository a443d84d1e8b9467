"""Which columns and which pictures a table has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec.bench import charts
from mmspec.bench.records import Records
from mmspec.bench.standing import Standing, standings
from mmspec.bench.tables import Column, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[Records], "Figure | None"]


@dataclass(frozen=True)
class Layout:
    """How records are shown.

    Attributes:
        columns: Of the table.
        pictures: By the ending of their file's name, none where there is but one picture; one that
            has nothing to show is left out.
    """

    columns: Sequence[Column]
    pictures: dict[str, Draw]


def layout_of(records: Records) -> Layout:
    """The layout that the records ask for.

    Raises:
        ValueError: There is no such layout.
    """
    if records.layout not in LAYOUTS:
        raise ValueError(
            f"records of '{records.name}' ask for the unknown layout '{records.layout}'; known "
            f"ones are {', '.join(LAYOUTS)}"
        )
    return LAYOUTS[records.layout]


def rows_of(records: Records) -> list[Any]:
    """What the columns read: standings, or bare entries where there is no baseline."""
    return standings(records) or list(records.entries)


def _value(name: str) -> Callable[[Any], Value]:
    """A property of a standing."""
    return lambda row: getattr(row, name)


def _figure(name: str) -> Callable[[Any], Value]:
    """A figure of an entry."""
    return lambda row: getattr(row, "entry", row).figures.get(name)


def _mean(name: str) -> Callable[[Standing], Value]:
    """The mean over inputs of a number that every input has."""
    return lambda row: row.mean(name)


def _middle(name: str) -> Callable[[Standing], Value]:
    """The same without its interval."""

    def middle(row: Standing) -> float | None:
        mean = row.mean(name)
        return mean.middle if mean is not None else None

    return middle


def _bias(row: Standing) -> float | None:
    return row.entry.loop.metrics.bias if row.entry.loop else None


_METHOD = Column("method", "method", _value("name"))
_SPEED = Column("speedup over plain [95 %]", "speedup", _value("speedup"))
_TAU = Column("acceptance length", "acceptance_length", _value("acceptance_length"))
_IDEAL = (
    Column("ideal", "ideal", _value("ideal")),
    Column("efficiency", "efficiency", _value("efficiency")),
)
_ACCURACY = Column("attribute accuracy", "attribute_accuracy", _mean("attribute_accuracy"), ".1%")

TEXT = (
    _METHOD,
    Column("tokens/s", "tokens_per_second", _value("rate"), ".0f"),
    _SPEED,
    _TAU,
    *_IDEAL,
    Column("draft share", "draft_share", _value("draft_share"), ".0%"),
    Column("identical", "identical", lambda row: row.entry.identical, ".0%"),
)
_LATENTS = (
    _METHOD,
    Column("pictures", "pictures", lambda row: row.entry.inputs, "d"),
    Column("passes a picture", "passes", _value("passes"), ".0f"),
    _TAU,
    Column("pictures/s", "pictures_per_second", _value("inputs_per_second")),
    _SPEED,
    *_IDEAL,
    Column("v(k)", "round_cost", _value("round_cost")),
    _ACCURACY,
)
_IMAGE = (*_LATENTS[:-1], Column("one-step bias", "bias", _bias, ".3f"), _ACCURACY)
_DRAFTERS = (
    Column("drafter", "drafter", lambda row: Path(row.name).name),
    Column("method", "method", lambda row: row.entry.method),
    Column("compressor", "compressor", lambda row: row.entry.knob or None),
    Column("parameters", "parameters", _figure("parameters"), ",.0f"),
    _TAU,
    _SPEED,
    *_IDEAL,
)
_GROWTH = (
    Column("method", "method", lambda row: row.method),
    Column("visual tokens", "visual_tokens", _figure("visual_tokens"), ",.0f"),
    Column("first draft, ms", "first_draft", _figure("first_draft"), ".1f"),
    Column("later drafts, ms", "round_draft", _figure("round_draft")),
    Column("cache, kB", "cache_kilobytes", _figure("cache_kilobytes"), ",.0f"),
    Column("parameters", "parameters", _figure("parameters"), ",.0f"),
)
_VIDEO = (
    Column("router", "router", _value("name")),
    Column("videos", "videos", lambda row: row.entry.inputs, "d"),
    Column("target's blocks", "target_share", _middle("target_share"), ".0%"),
    Column("seconds a video", "seconds", lambda row: 1 / row.inputs_per_second),
    _SPEED,
    _ACCURACY,
    Column("motion", "motion", _mean("motion"), ".1%"),
    Column("smooth", "smooth", _mean("smooth"), ".1%"),
)

_RACE: dict[str, Draw] = {
    "speedup": charts.speedup,
    "time": charts.time_split,
    "positions": charts.positions,
    "costs": charts.costs,
}
LAYOUTS = {
    "text": Layout(TEXT, _RACE),
    "drafters": Layout(_DRAFTERS, {}),
    "image": Layout(_IMAGE, {**_RACE, "quality": charts.quality}),
    "latents": Layout(_LATENTS, {**_RACE, "quality": charts.quality}),
    "image-curves": Layout(_IMAGE, {"": charts.quality}),
    "latent-curves": Layout(_LATENTS, {"": charts.quality}),
    "latent-lengths": Layout(_LATENTS, {"": charts.lengths}),
    "video": Layout(
        _VIDEO, {"quality": charts.quality, "time": charts.time_split, "model": charts.time_model}
    ),
    "visual-tokens": Layout(_GROWTH, {"": charts.growth}),
}
