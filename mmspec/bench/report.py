"""One folder of records to tables, pictures and one page; nothing else is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmspec.bench import equal_time, limits
from mmspec.bench.layouts import layout_of, rows_of
from mmspec.bench.records import Records, read_folder
from mmspec.bench.standing import standings
from mmspec.bench.tables import markdown, to_csv
from mmspec.bench.timing import fitted
from mmspec.files import replace_file

PAGE = "report.md"
_DPI = 110


def draw(folder: Path) -> dict[str, str]:
    """Draw everything from the records in ``folder``.

    Writes ``TABLE.csv`` and ``TABLE-PICTURE.png`` beside every table's records, ``SUITE.md`` with
    the suite's tables, and ``report.md`` with all of them and what holds each method back.

    Returns:
        The Markdown of every suite by its name.

    Raises:
        ValueError: No records, a damaged file, or an unknown layout.
    """
    tables = read_folder(folder)
    suites = list(dict.fromkeys(records.suite for records in tables))
    blocks = {suite: block([one for one in tables if one.suite == suite]) for suite in suites}
    pictures = {records.name: _pictures(records, folder) for records in tables}
    for records in tables:
        _write(folder / f"{records.name}.csv", to_csv(layout_of(records).columns, rows_of(records)))
    for suite, text in blocks.items():
        _write(folder / f"{suite}.md", text + "\n")
    parts = ["# Benchmark\n"]
    for suite in suites:
        own = [one for one in tables if one.suite == suite]
        shown = [f"![{name}]({name})" for one in own for name in pictures[one.name]]
        parts += [f"## {suite}\n", blocks[suite] + "\n", "\n".join(shown) + "\n", *_findings(own)]
    _write(folder / PAGE, "\n".join(parts))
    return blocks


def block(tables: Sequence[Records]) -> str:
    """The tables of a suite under one line on what was measured, and where."""
    heads = [head_line(records) for records in tables]
    parts = []
    for number, (records, head) in enumerate(zip(tables, heads, strict=True)):
        if head not in heads[:number]:
            parts.append(f"{head}:")
        if records.title:
            parts.append(f"{records.title}:")
        parts.append(markdown(layout_of(records).columns, rows_of(records)))
        parts += [note for note in (_batch_note(records),) if note]
    return "\n\n".join(parts)


def head_line(records: Records) -> str:
    """What was measured, and on what."""
    origin = records.provenance
    return f"{records.intro} ({origin['hardware']}, {origin['dtype']}, {records.size})"


def _batch_note(records: Records) -> str:
    """What a batch saves, where that was measured."""
    known = [
        f"{entry.figures['batch_ratio']:.2f} with {entry.name}"
        for entry in records.entries
        if "batch_ratio" in entry.figures
    ]
    return f"Time of eight in one batch over eight alone: {', '.join(known)}." if known else ""


def _findings(tables: Sequence[Records]) -> list[str]:
    """What holds each method back, and for routers who wins at equal time."""
    parts = []
    for records in tables:
        said = limits.sentences(standings(records))
        if records.layout == "video":
            said += [equal_time.verdict(records, name) for name in _measures(records)]
            fit = fitted(records)
            said += [fit.sentence()] if fit else []
        if said and records.layout not in ("image-curves", "latent-curves", "latent-lengths"):
            title = f", {records.title}" if records.title else ""
            parts.append(f"### What holds each back: {records.suite}{title}\n")
            parts.append("\n".join(f"- {line}" for line in said) + "\n")
    return parts


def _measures(records: Records) -> list[str]:
    names = ("attribute_accuracy", "motion")
    return [name for name in names if any(entry.values.get(name) for entry in records.entries)]


def _pictures(records: Records, folder: Path) -> list[str]:
    """Draw the pictures of a table; returns the names of their files."""
    names = []
    for ending, picture in layout_of(records).pictures.items():
        figure = picture(records)
        if figure is not None:
            names.append(f"{records.name}{f'-{ending}' if ending else ''}.png")
            metadata = {"Software": None}  # the same records give the same file
            figure.savefig(folder / names[-1], dpi=_DPI, metadata=metadata)
    return names


def _write(path: Path, text: str) -> None:
    replace_file(path, lambda fresh: fresh.write_text(text, encoding="utf-8"))
