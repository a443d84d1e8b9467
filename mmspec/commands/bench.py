"""`mmspec bench`: measure methods side by side, and draw tables and pictures from the records."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmspec.bench.plan import ALL, CLIP_FRAMES, FULL, QUICK, SUITES, Settings
from mmspec.commands.console import Console, UsageError, hush_libraries

REPORT = "report"
# Options of one suite or of another model, which `all` cannot pass on to every suite.
_SINGLE = ("model", "data", "drafter", "prompt", "images", "repeats", "frames", "temperatures")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `mmspec bench`."""
    suites = parser.add_argument_group("what is measured")
    suites.add_argument(
        "suite",
        choices=(*SUITES, "all", REPORT),
        help="one suite, `all` that compare methods, or `report` to draw FOLDER's records anew",
    )
    suites.add_argument("folder", nargs="?", type=Path, help="with `report`: where the records are")
    suites.add_argument("--model", help="target: embedded name, folder or Hub id")
    suites.add_argument("--data", help="folder of pictures (default: unseen ones of the world)")
    suites.add_argument("--drafter", help="trained drafter for a target that is not embedded")
    suites.add_argument(
        "--drafters", nargs="+", default=[], metavar="DIR", help="what the drafters suite compares"
    )
    suites.add_argument("--prompt", help="text of the request")
    suites.add_argument("--quick", action="store_true", help="few inputs and no curves")
    suites.add_argument(
        "--images", "--prompts", type=int, help="pictures, clips or prompts (default: by suite)"
    )
    suites.add_argument("--repeats", type=int, help="interleaved repeats (default: by suite)")
    suites.add_argument("--frames", type=int, help=f"frames of a clip ({CLIP_FRAMES})")
    suites.add_argument("--max-new-tokens", type=int, default=128)
    suites.add_argument("--temperatures", type=float, nargs="+", help="a table each")
    suites.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, default=Path("bench-out"), help="folder (bench-out)")
    output.add_argument(
        "--readme",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="documents whose marked tables and linked pictures are replaced",
    )
    output.add_argument("--json", action="store_true", help="print one JSON document at the end")
    output.add_argument("--quiet", action="store_true", help="no tables and no progress bars")


def run(args: argparse.Namespace) -> int:
    """Measure, draw, and bring documents up to date; returns the exit status."""
    _check(args)
    console = Console(args)
    folder, failed = args.folder or args.out, 0
    if args.suite == "all":
        failed = _measure_all(args, console)
    elif args.suite != REPORT:
        _measure(args, args.suite, console)
    blocks = _draw(folder, args.readme, console)
    document = {"command": "bench", "suite": args.suite, "folder": str(folder), "tables": blocks}
    console.document(document)
    return 1 if failed else 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together before anything is loaded.

    Raises:
        UsageError: With the fix.
    """
    if args.suite == REPORT and args.folder is None:
        raise UsageError("give the folder of the records: `mmspec bench report FOLDER`")
    if args.suite != REPORT and args.folder is not None:
        raise UsageError(
            f"only `bench report` reads a folder; write to it with --out {args.folder}"
        )
    if (args.suite == "drafters") != bool(args.drafters):
        raise UsageError("`bench drafters` and `--drafters DIR...` belong together")
    single = [name for name in _SINGLE if getattr(args, name) is not None]
    if args.suite == "all" and single:
        raise UsageError(f"--{single[0]} is for one suite; `bench all` measures embedded models")
    for document in args.readme:
        if not document.is_file():
            raise UsageError(f"there is no document {document} to bring up to date")


def _measure_all(args: argparse.Namespace, console: Console) -> int:
    """Every suite that compares methods; one that fails does not cost the others their time.

    Returns:
        How many failed.
    """
    from mmspec.cli import one_line

    failed = 0
    for suite in ALL:
        try:
            _measure(args, suite, console)
        except Exception as error:
            if args.debug:
                raise
            console.error(f"suite {suite}: {one_line(error)}")
            failed += 1
    return failed


def _measure(args: argparse.Namespace, suite: str, console: Console) -> None:
    from mmspec.bench.suites import run_suite

    hush_libraries()
    for path in run_suite(suite, _settings(args, suite), args.out):
        console.say(f"wrote {path}")


def _draw(folder: Path, documents: list[Path], console: Console) -> dict[str, str]:
    """Draw the folder's records; returns the Markdown of every suite."""
    from mmspec.bench.documents import refresh
    from mmspec.bench.report import PAGE, draw

    blocks = draw(folder)
    for suite, text in blocks.items():
        console.say(f"\n{suite}\n\n{text}")
    console.say(f"\nwrote {folder / PAGE}")
    for document in documents:
        done = refresh(document, blocks, folder)
        console.say(f"{document}: {', '.join(done) or 'shows nothing of these records'}")
    return blocks


def _settings(args: argparse.Namespace, suite: str) -> Settings:
    """The suite's own size with what was given on the command line.

    Raises:
        UsageError: A size that is too small.
    """
    given: dict[str, Any] = {"inputs": args.images, "repeats": args.repeats}
    changed = {name: value for name, value in given.items() if value is not None}
    try:
        size = replace((QUICK if args.quick else FULL)[suite], **changed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Settings(
        size=size,
        model=args.model,
        data=args.data,
        drafter=args.drafter,
        drafters=tuple(args.drafters),
        prompt=args.prompt,
        frames=args.frames or CLIP_FRAMES,
        max_new_tokens=args.max_new_tokens,
        temperatures=tuple(args.temperatures) if args.temperatures else None,
        dtype=args.dtype,
        progress=not args.quiet,
    )
