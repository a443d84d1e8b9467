"""What a benchmark measured, as JSON lines: every table and picture is drawn from these alone."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from mmspec.files import replace_file
from mmspec.trace import Metrics, Trace

VERSION = 1
Cells = list[list[tuple[float, int]]]


@dataclass(frozen=True)
class Loop:
    """What our own loop recorded of a contender, over all repeats.

    Attributes:
        metrics: Sums and ratios.
        row_units: Units that decoding rounds emitted.
        depth: Mean length of the longest drafted branch, over decoding rounds.
        by_position: Share of rounds that kept the unit at each place of the draft.
        costs: By size of the block that was checked: ``(units a row, rounds, median seconds of
            their verification)``, the unit before the draft included.
    """

    metrics: Metrics
    row_units: int
    depth: float
    by_position: list[float]
    costs: list[tuple[float, int, float]]

    @classmethod
    def of(cls, trace: Trace) -> Loop:
        """Summed up from a trace."""
        decoding = [one for one in trace.rounds if "prefill" not in one.seconds and one.active]
        sizes: dict[float, list[float]] = defaultdict(list)
        for one in decoding:
            sizes[1 + one.drafted / one.active].append(one.seconds.get("verify", 0.0))
        return cls(
            metrics=trace.metrics,
            row_units=trace.row_units,
            depth=sum(one.depth for one in decoding) / max(len(decoding), 1),
            by_position=trace.acceptance_by_position,
            costs=[(size, len(spent), median(spent)) for size, spent in sorted(sizes.items())],
        )


@dataclass(frozen=True)
class Entry:
    """One contender in one table.

    Attributes:
        name: Unique in its table.
        cells: ``[repeat][input] = (seconds, units)``; a slow contender may have fewer inputs than
            others, always the first ones.
        method: What a curve joins, its row in the catalog as a rule; ``none`` is the plain loop;
            empty for other programs.
        knob: What distinguishes it from others of its method, such as ``delta=0.5``.
        identical: Share of inputs with exactly the baseline's units.
        loop: What our loop recorded; None for other programs.
        values: Numbers by input, such as the quality of each picture.
        figures: Further numbers.
    """

    name: str
    cells: Cells
    method: str = ""
    knob: str = ""
    identical: float | None = None
    loop: Loop | None = None
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """On how many inputs it ran."""
        return len(self.cells[0])


@dataclass(frozen=True)
class Records:
    """Everything about one table.

    Attributes:
        name: Of the table and of its files.
        suite: Block of a document that shows it, together with others of the same block.
        layout: Which columns and pictures it has, see :mod:`mmspec.bench.layouts`.
        intro: What was measured, in words.
        title: What distinguishes it from other tables of its block; may be empty.
        baseline: Entry that others are compared with; empty where there is none.
        size: Inputs and repeats, in words.
        provenance: See :func:`mmspec.bench.provenance.provenance`.
        entries: The contenders.
        run: Block of the first table of the same run, which replaces those of an earlier one.
    """

    name: str
    suite: str
    layout: str
    intro: str
    title: str
    baseline: str
    size: str
    provenance: dict[str, Any]
    entries: list[Entry]
    run: str = ""

    @property
    def plain(self) -> Entry | None:
        """The baseline's entry."""
        return next((one for one in self.entries if one.name == self.baseline), None)

    def write(self, folder: Path) -> Path:
        """Write ``NAME.jsonl``; returns the file.

        A line on the table, then for every contender a line a repeat, and one with all else.
        """
        head = {name: value for name, value in vars(self).items() if name != "entries"}
        lines: list[dict[str, Any]] = [{"kind": "table", "version": VERSION, **head}]
        for entry in self.entries:
            for repeat, row in enumerate(entry.cells):
                seconds, units = [spent for spent, _ in row], [count for _, count in row]
                run = {"kind": "run", "name": entry.name, "repeat": repeat}
                lines.append({**run, "seconds": seconds, "units": units})
            rest = {key: value for key, value in asdict(entry).items() if key != "cells"}
            lines.append({"kind": "entry", **rest})
        path = folder / f"{self.name}.jsonl"
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        replace_file(path, lambda fresh: fresh.write_text(text, encoding="utf-8"))
        return path

    @classmethod
    def read(cls, path: Path) -> Records:
        """Read what :meth:`write` wrote.

        Raises:
            ValueError: The file is damaged or was written by another program.
        """
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            return _assembled(lines)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(
                f"{path} holds no whole records of a benchmark ({type(error).__name__}: {error}); "
                "delete it, or measure that suite again"
            ) from error


def read_folder(folder: Path) -> list[Records]:
    """The records of every table in a folder, by name; numbers in names count as numbers.

    Raises:
        ValueError: No records there, or a damaged file.
    """
    files = sorted(folder.glob("*.jsonl"), key=_by_number)
    if not files:
        raise ValueError(f"{folder} holds no records (*.jsonl); write some with `mmspec bench`")
    return [Records.read(path) for path in files]


def _by_number(path: Path) -> list[tuple[str, int]]:
    pairs = re.findall(r"(\D*)(\d*)", path.stem)
    return [(text, int(number or -1)) for text, number in pairs]


def _assembled(lines: list[dict[str, Any]]) -> Records:
    head = dict(lines[0])
    if head.pop("kind") != "table" or head.pop("version") != VERSION:
        raise ValueError(f"the first line is not that of a table of version {VERSION}")
    cells: dict[str, Cells] = defaultdict(list)
    entries = []
    for line in lines[1:]:
        rest = dict(line)
        kind, name = rest.pop("kind"), rest["name"]
        if kind == "run":
            cells[name].append(list(zip(rest["seconds"], rest["units"], strict=True)))
        elif kind == "entry":
            rest["loop"] = _loop(rest["loop"])
            entries.append(Entry(cells=cells[name], **rest))
        else:
            raise ValueError(f"a line of the unknown kind '{kind}'")
    if not entries or not all(one.cells and one.cells[0] for one in entries):
        raise ValueError("the runs of a contender are missing")
    records = Records(**head, entries=entries)
    if records.baseline and records.plain is None:
        raise ValueError(f"the baseline '{records.baseline}' is missing")
    return records


def _loop(given: dict[str, Any] | None) -> Loop | None:
    if given is None:
        return None
    costs = [(size, rounds, seconds) for size, rounds, seconds in given["costs"]]
    return Loop(**{**given, "metrics": Metrics(**given["metrics"]), "costs": costs})
