"""`mmspec bench`: honest side-by-side measurements."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmspec.bench.caption import CaptionBench
    from mmspec.bench.race import Race

SUITES = (
    "caption",
    "caption-video",
    "visual-tokens",
    "drafters",
    "pacing",
    "image",
    "image-continuous",
)
BATCHES = (1, 4, 16)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `mmspec bench`."""
    parser.add_argument("suite", choices=SUITES, help="what to measure")
    parser.add_argument("--model", default="tiny", help="target: tiny, a folder or a Hub id")
    parser.add_argument("--data", help="folder of pictures (default: unseen pictures of the world)")
    parser.add_argument("--drafter", help="trained drafter for a target that is not embedded")
    parser.add_argument(
        "--drafters", nargs="+", default=[], metavar="DIR", help="what the drafters suite compares"
    )
    parser.add_argument("--prompt", help="text of the request")
    parser.add_argument("--images", type=int, default=32, help="pictures or clips")
    parser.add_argument("--prompts", type=int, default=64, help="prompts of the image suite")
    parser.add_argument("--frames", type=int, help="frames of each clip of caption-video (8)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--quick", action="store_true", help="8 pictures, 3 repeats")
    parser.add_argument("--out", default="bench-out", help="folder of the records and tables")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write records; returns the exit status."""
    from mmspec.bench.caption import CaptionBench
    from mmspec.commands.console import UsageError, hush_libraries

    hush_libraries()
    if args.suite == "image":
        return _report(_paint(args), args)
    if args.suite == "image-continuous":
        return _report(_paint_latents(args), args)
    given = vars(args)
    values = {f.name: given[f.name] for f in fields(CaptionBench)}
    values["temperatures"] = tuple(args.temperatures)
    clips = args.suite in ("caption-video", "visual-tokens")
    values["frames"] = (args.frames or 8) if clips else 0
    bench = CaptionBench(**values)
    if args.quick:
        bench = replace(bench, images=8, repeats=3)
    if (args.suite == "drafters") != bool(args.drafters):
        raise UsageError("`bench drafters` and `--drafters DIR...` belong together")
    out = Path(args.out)
    return _report(measure(bench, args.suite, out, args.drafters, not args.quiet), args)


def _report(document: dict[str, Any], args: argparse.Namespace) -> int:
    if args.json:
        sys.stdout.write(json.dumps(document) + "\n")
    return 0


def _paint(args: argparse.Namespace) -> dict[str, Any]:
    """Run the image suite and write its records, tables and curves."""
    from mmspec.bench import image, image_report
    from mmspec.bench.provenance import hardware_line, provenance

    small = args.quick
    bench = image.ImageBench(
        model=args.model, images=8 if small else args.prompts, repeats=1 if small else args.repeats
    )
    target = image.load(bench)
    rows = _raced(bench, target, image.entries_at_defaults(bench, target), "methods", args.quiet)
    subjects = image.subjects_of(bench, target)
    origin = provenance(asdict(bench), (subject.label.encode() for subject in subjects))
    head = f"{hardware_line()}, float32, {bench.images} prompts, {bench.repeats} repeats"
    text = [head, "", image_report.markdown(rows), ""]
    for name in ("none", "scd"):
        ratio = image.ragged_ratio(bench, target, image.engine_for(bench, target, name))
        text.append(f"{name}: a batch of 8 takes {ratio:.2f} of the time of eight single runs")
    document = _publish("image", rows, "\n".join(text) + "\n", origin, Path(args.out))
    if small:
        return document
    once = replace(bench, repeats=1, images=bench.images // 2)
    points = _raced(once, target, image.entries_by_knob(once, target), "curves", args.quiet)
    body = f"{head}\n\n{image_report.markdown(points)}\n"
    document["tables"] |= _publish("image-curves", points, body, origin, Path(args.out))["tables"]
    image_report.write_csv(points, Path(args.out) / "image-curves.csv")
    image_report.plot(points, Path(args.out) / "image-curves.png")
    return document


def _paint_latents(args: argparse.Namespace) -> dict[str, Any]:
    """Run the image-continuous suite: modes, lengths and knobs, then the masked model."""
    from mmspec.bench import image, image_report, latent
    from mmspec.bench.provenance import hardware_line, provenance

    small, out = args.quick, Path(args.out)
    model = "tiny-mar" if args.model == "tiny" else args.model
    bench = image.ImageBench(
        model=model, images=8 if small else args.prompts, repeats=1 if small else args.repeats
    )
    target = image.load(bench)
    subjects = image.subjects_of(bench, target)
    origin = provenance(asdict(bench), (subject.label.encode() for subject in subjects))
    head = f"{hardware_line()}, float32, {bench.images} classes, {bench.repeats} repeats"

    def publish(slug: str, entries: Any, model: Any, asked: image.ImageBench) -> list[Any]:
        rows = _raced(asked, model, entries, slug, args.quiet)
        body = f"{head}\n\n{image_report.markdown(rows)}\n"
        tables.update(_publish(slug, rows, body, origin, out)["tables"])
        return rows

    tables: dict[str, Any] = {}
    publish("image-continuous", latent.entries_by_mode(bench, target), target, bench)
    if not small:
        once = replace(bench, repeats=1, images=bench.images // 2)
        for slug, entries in (
            ("image-continuous-lengths", latent.entries_by_length(once, target)),
            ("image-continuous-knobs", latent.entries_by_knob(once, target)),
        ):
            rows = publish(slug, entries, target, once)
            image_report.write_csv(rows, out / f"{slug}.csv")
            image_report.plot(rows, out / f"{slug}.png")
        masked = replace(once, model=latent.MASKED)
        other = image.load(masked)
        publish("image-masked", latent.entries_masked(masked, other), other, masked)
    return {"command": "bench", "provenance": origin, "tables": tables}


def _raced(bench: Any, target: Any, entries: Any, title: str, quiet: bool) -> list[Any]:
    from tqdm.auto import tqdm

    from mmspec.bench import image

    with tqdm(total=bench.images * bench.repeats, disable=quiet, desc=title) as bar:
        return image.race(bench, target, entries, bar.update)


def measure(
    bench: CaptionBench,
    suite: str,
    out: Path,
    drafters: Sequence[str] = (),
    progress: bool = True,
) -> dict[str, Any]:
    """Run a suite.

    Args:
        bench: What is measured.
        suite: ``caption`` or ``caption-video`` (every method, a table a temperature),
            ``visual-tokens`` (what drafters pay for longer clips), ``drafters`` (given ones side
            by side), or ``pacing`` (``auto`` against the plain loop, a table a batch size).
        out: Folder of the records and of the Markdown tables.
        drafters: Folders that the suite of this name compares.
        progress: Show bars.

    Returns:
        The provenance and, per table, the standings as dictionaries.
    """
    from mmspec.bench import caption
    from mmspec.bench.provenance import hardware_line, provenance
    from mmspec.bench.race import markdown

    images = caption.shown(bench)
    dtype = caption.faster_dtype(bench, images)
    target = caption.load(bench, dtype)
    frames = (frame.tobytes() for one in images for frame in one)
    origin = provenance({**asdict(bench), "dtype": dtype}, frames)
    document: dict[str, Any] = {"command": "bench", "provenance": origin, "tables": {}}
    what = f"clips of {bench.frames} frames" if bench.frames else "pictures"
    text = [f"{hardware_line()}, {dtype}, {len(images)} {what}, {bench.repeats} repeats"]
    if suite == "visual-tokens":
        return _grow(bench, target, origin, out, progress)
    if suite == "drafters":
        return _compare(bench, target, drafters, origin, out, progress)
    for title, race in _races(bench, suite, target, images, progress):
        slug = title.lower().replace(" ", "-")
        race.write(out / f"{suite}-{slug}.jsonl", origin)
        standings = race.standings()
        document["tables"][title] = [asdict(standing) for standing in standings]
        text += [f"\n{title}\n", markdown(standings)]
    (out / f"{suite}.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    sys.stderr.write("\n".join(text) + "\n")
    return document


def _grow(
    bench: CaptionBench, target: Any, origin: dict[str, Any], out: Path, progress: bool
) -> dict[str, Any]:
    """Run the visual-tokens suite and write its records, table and plot."""
    from tqdm.auto import tqdm

    from mmspec.bench import growth
    from mmspec.bench.provenance import hardware_line

    with tqdm(disable=not progress, desc="visual tokens") as bar:
        rows = list(growth.measure_growth(bench, target, bar.update))
    text = f"{hardware_line()}, {bench.repeats} repeats\n\n{growth.markdown(rows)}\n"
    document = _publish("visual-tokens", rows, text, origin, out)
    growth.plot(rows, out / "visual-tokens.png")
    return document


def _compare(
    bench: CaptionBench,
    target: Any,
    folders: Sequence[str],
    origin: dict[str, Any],
    out: Path,
    progress: bool,
) -> dict[str, Any]:
    """Run the drafters suite and write its records and table."""
    from mmspec.bench import drafters
    from mmspec.bench.provenance import hardware_line

    rows = list(drafters.measure_drafters(bench, target, folders, progress))
    text = f"{hardware_line()}, {bench.repeats} repeats\n\n{drafters.markdown(rows)}\n"
    return _publish("drafters", rows, text, origin, out)


def _publish(
    suite: str, rows: Sequence[Any], text: str, origin: dict[str, Any], out: Path
) -> dict[str, Any]:
    """Write the records and the table of a suite; returns its document."""
    records = [asdict(row) for row in rows]
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(origin), *(json.dumps(record) for record in records)]
    (out / f"{suite}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / f"{suite}.md").write_text(text, encoding="utf-8")
    sys.stderr.write(text)
    return {"command": "bench", "provenance": origin, "tables": {suite: records}}


def _races(
    bench: CaptionBench, suite: str, target: Any, images: list[Any], progress: bool
) -> Iterator[tuple[str, Race]]:
    """Run the suite's races one after the other; each comes with its table's title."""
    from tqdm.auto import tqdm

    from mmspec.bench import caption
    from mmspec.bench.race import Race

    if suite != "pacing":
        runs = [(f"Temperature {t:g}", 1, t, caption.contenders) for t in bench.temperatures]
    else:
        runs = [(f"Batch {size}", size, 0.0, caption.pacing_contenders) for size in BATCHES]
    for title, batch, temperature, contenders in runs:
        requests = caption.prepare(bench, target, images, temperature, batch)
        race = Race(contenders(bench, target), caption.BASELINE)
        with tqdm(total=bench.repeats * len(requests), disable=not progress, desc=title) as bar:
            race.run(requests, bench.repeats, tick=bar.update)
        yield title, race
