"""`mmspec bench`: honest side-by-side measurements."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmspec.bench.caption import CaptionBench

SUITES = ("caption",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `mmspec bench`."""
    parser.add_argument("suite", choices=SUITES, help="what to measure")
    parser.add_argument("--model", default="tiny", help="target: tiny, a folder or a Hub id")
    parser.add_argument("--data", help="folder of pictures (default: unseen pictures of the world)")
    parser.add_argument("--drafter", help="trained drafter for a target that is not embedded")
    parser.add_argument("--prompt", help="text of the request")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--quick", action="store_true", help="8 pictures, 3 repeats")
    parser.add_argument("--out", default="bench-out", help="folder of the records and tables")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Measure, print one table a temperature, write records; returns the exit status."""
    from mmspec.bench.caption import CaptionBench

    given = vars(args)
    values = {f.name: given[f.name] for f in fields(CaptionBench)}
    values["temperatures"] = tuple(args.temperatures)
    bench = CaptionBench(**values)
    if args.quick:
        bench = replace(bench, images=8, repeats=3)
    document = measure(bench, Path(args.out), progress=not args.quiet)
    if args.json:
        sys.stdout.write(json.dumps(document) + "\n")
    return 0


def measure(bench: CaptionBench, out: Path, progress: bool = True) -> dict[str, Any]:
    """Run the caption suite.

    Returns:
        The provenance and, per temperature, the standings as dictionaries.
    """
    from tqdm.auto import tqdm

    from mmspec.bench import caption as suite
    from mmspec.bench.provenance import hardware_line, provenance
    from mmspec.bench.race import Race, markdown

    images = suite.pictures(bench)
    dtype = suite.faster_dtype(bench, images)
    target = suite.load(bench, dtype)
    inputs = suite.prepare(bench, target, images)
    origin = provenance({**asdict(bench), "dtype": dtype}, (image.tobytes() for image in images))
    document: dict[str, Any] = {"command": "bench", "provenance": origin, "tables": {}}
    text = [f"{hardware_line()}, {dtype}, batch 1, {len(images)} pictures, {bench.repeats} repeats"]
    for temperature in bench.temperatures:
        race = Race(suite.contenders(bench, target), suite.BASELINE)
        bar = tqdm(total=bench.repeats * len(inputs), disable=not progress, unit="picture")
        sampling = suite.sampling_of(bench, target, temperature)
        race.run(inputs, sampling, bench.repeats, tick=bar.update)
        bar.close()
        suite.write_raw(race, out, f"caption-t{temperature:g}", origin)
        standings = race.standings()
        document["tables"][f"{temperature:g}"] = [asdict(s) for s in standings]
        text += [f"\nTemperature {temperature:g}\n", markdown(standings)]
    (out / "caption.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    sys.stderr.write("\n".join(text) + "\n")
    return document
