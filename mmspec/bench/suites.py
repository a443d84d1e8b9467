"""Running a suite: its records replace older ones in the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.bench.plan import SUITES, Settings
from mmspec.bench.records import Records


def run_suite(name: str, settings: Settings, folder: Path) -> list[Path]:
    """Measure a suite; every table's records are written as soon as it is measured.

    Records that an earlier run of the suite left in the folder are removed before the first of them
    is written, so that none of its tables is older than the others.

    Returns:
        The files.
    """
    measure: Callable[[Settings], Iterator[Records]] = catalog.resolve(SUITES[name])
    written: list[Path] = []
    run = ""
    for records in measure(settings):
        if not written:
            run = records.suite
            _forget(run, folder)
        written.append(replace(records, run=run).write(folder))
    return written


def _forget(run: str, folder: Path) -> None:
    for path in folder.glob("*.jsonl"):
        try:
            stale = Records.read(path).run == run
        except ValueError:  # not ours to remove; drawing the report names it
            continue
        if stale:
            path.unlink()


@contextmanager
def bar(title: str, total: int | None, settings: Settings) -> Iterator[Callable[[], Any]]:
    """A progress bar's tick."""
    from tqdm.auto import tqdm

    with tqdm(total=total, disable=not settings.progress, desc=title) as shown:
        yield shown.update


def how_many(count: int, noun: str) -> str:
    """A number of things in words."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
