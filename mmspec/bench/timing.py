"""How well the time model of routed videos predicts what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from mmspec import catalog
from mmspec.bench.records import Entry, Records

TIME_MODEL = "video_ar.time_model"
_COUNTS = ("blocks", "scored", "regenerated", "checked")


@dataclass(frozen=True)
class Fit:
    """The model of one table.

    Attributes:
        model: A :class:`video_ar.time_model.TimeModel`, fitted on all routers.
        points: Name, measured seconds a video, and those that a model predicts which was fitted on
            all other routers.
    """

    model: Any
    points: Sequence[tuple[str, float, float]]

    @property
    def errors(self) -> list[float]:
        """Predicted over measured minus one, by router."""
        return [predicted / seconds - 1 for _, seconds, predicted in self.points]

    def sentence(self) -> str:
        """Its costs and its errors in words."""
        model, off = self.model, [abs(error) for error in self.errors]
        return (
            f"A block costs {model.base:.3f} s to draft, commit and decode, {model.score:.3f} s to "
            f"score, {model.check:.3f} s to be checked and {model.target:.3f} s to be made by the "
            "target. Fitted on all other routers, this predicts a router's time to within "
            f"{median(off):.1%} at the median and {max(off):.1%} at worst."
        )


def fitted(records: Records) -> Fit | None:
    """Fit seconds by kind of work; None where the records cannot tell the kinds apart."""
    entries = [entry for entry in records.entries if all(key in entry.values for key in _COUNTS)]
    works = [_mean_work(entry) for entry in entries]
    model = catalog.resolve(f"{TIME_MODEL}:TimeModel")
    try:
        points = []
        for number, (entry, work) in enumerate(zip(entries, works, strict=True)):
            other = model.fit([*works[:number], *works[number + 1 :]])
            predicted = work.seconds * (1 + other.errors([work])[0])
            points.append((entry.name, work.seconds, predicted))
        return Fit(model.fit(works), points)
    except ValueError:
        return None


def _mean_work(entry: Entry) -> Any:
    """What was done for a video in the mean, and how long it took."""
    counts = {key: fmean(entry.values[key]) for key in _COUNTS}
    seconds = fmean(spent for row in entry.cells for spent, _ in row)
    return catalog.resolve(f"{TIME_MODEL}:Record")(**counts, seconds=seconds)
