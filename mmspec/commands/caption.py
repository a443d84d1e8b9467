"""`mmspec caption`: pictures, clips and folders to text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec.commands.console import Console, UsageError
from mmspec.commands.running import check_folder, check_method, load_pipeline
from mmspec.commands.values import add_machine, add_model, add_output, number, whole
from mmspec.pipelines.options import MAX_BATCH, MAX_NEW_TOKENS, CaptionOptions

if TYPE_CHECKING:
    from mmspec.pipelines.result import CaptionResult

_OPTIONS = (
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "batch_size",
    "frames",
)
_DEFAULT_OUT = "mmspec-out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes; defaults come from :class:`CaptionOptions`."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="picture, clip or folder")
    add_model(parser).add_argument(
        "--strict", action="store_true", help="fail when the drafter fails; default: decode plainly"
    )
    _add_generation(parser)
    group = parser.add_argument_group("results")
    group.add_argument(
        "--compare",
        action="store_true",
        help="also decode plainly, check that the texts are equal, print the speed-up",
    )
    group.add_argument("--out", type=Path, metavar="DIR", help="write captions and trace here")
    group.add_argument(
        "--report",
        action="store_true",
        help=f"write DIR/report.html too (DIR: --out, else {_DEFAULT_OUT})",
    )
    group.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="print tokens as they are committed (default: on a terminal, one input)",
    )
    add_machine(parser)
    add_output(parser)


def _add_generation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generation")
    group.add_argument("--prompt", help="what to ask (default: for a description)")
    kinds: dict[str, Any] = {
        "max_new_tokens": (whole(1, MAX_NEW_TOKENS), "most tokens of a caption"),
        "temperature": (number(0), "0 is greedy"),
        "top_p": (number(0, 1, above=True), "keep the smallest set with this mass"),
        "top_k": (whole(0), "keep the K most likely tokens; 0 keeps all"),
        "min_p": (number(0, 1), "drop tokens below this share of the likeliest"),
        "repetition_penalty": (number(0, above=True), "above 1 discourages repetition"),
        "seed": (whole(0, 2**62), "input i draws from seed + i"),
        "batch_size": (whole(1, MAX_BATCH), "inputs decoded together"),
        "frames": (whole(1, 256), "frames taken from a clip"),
    }
    for name, (kind, about) in kinds.items():
        default = getattr(CaptionOptions, name)
        shown = "random" if default is None else default
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            default=default,
            metavar="N",
            help=f"{about} (default: {shown})",
        )


def run(args: argparse.Namespace) -> int:
    """Caption the inputs; 1 if any of them failed."""
    _check(args)
    console = Console(args)
    from mmspec.commands.caption_output import Printer, write_files
    from mmspec.pipelines.result import Interrupted

    pipe = _load(args)
    try:
        pipe.check_prompt(args.prompt)
    except ValueError as error:
        raise UsageError(str(error)) from None
    printer = Printer(console, streaming=_streams(args))
    options = {name: getattr(args, name) for name in _OPTIONS}
    interrupted = False
    try:
        result: CaptionResult = pipe(
            args.inputs if len(args.inputs) > 1 else args.inputs[0],
            args.prompt,
            compare=args.compare,
            on_error="skip",
            on_text=printer.on_text if printer.streaming else None,
            progress=not args.quiet and sys.stderr.isatty(),
            thumbnails=args.report,
            **options,
        )
    except Interrupted as stop:
        result, interrupted = stop.result, True
    printer.captions(result)
    printer.summary(result)
    folder = args.out or (Path(_DEFAULT_OUT) if args.report else None)
    if folder is not None:
        for path in write_files(result, folder, report=args.report):
            console.say(f"wrote {path}")
    console.document(result.to_json())
    if interrupted:
        console.error(f"interrupted; {len(result.outputs)} inputs were begun")
    return 1 if interrupted or result.failed else 0


def _check(args: argparse.Namespace) -> None:
    """Wrong usage that argparse cannot see, before anything heavy is imported."""
    check_method(args)
    check_folder(args.out)
    if args.stream and args.batch_size > 1:
        raise UsageError("--stream shows one input at a time; use it with --batch-size 1")


def _load(args: argparse.Namespace) -> Any:
    return load_pipeline("caption", args, strict=args.strict)


def _streams(args: argparse.Namespace) -> bool:
    """Whether tokens are printed as they come; never where they would disturb a measurement."""
    if args.stream is not None:
        return bool(args.stream)
    one = len(args.inputs) == 1 and not Path(args.inputs[0]).is_dir()
    quiet = args.json or args.compare or args.batch_size > 1
    return one and sys.stdout.isatty() and not quiet
