"""`mmspec video`: prompts to videos."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec import catalog
from mmspec.commands.console import Console, UsageError
from mmspec.commands.prompts import add_prompts, prompts_of
from mmspec.commands.running import (
    check_folder,
    check_method,
    check_options,
    check_score,
    load_pipeline,
    pairs_of,
)
from mmspec.commands.values import (
    add_machine,
    add_model,
    add_numbers,
    add_output,
    add_own_options,
    number,
    whole,
)
from mmspec.pipelines.rewards import check_rewarded
from mmspec.pipelines.video_options import MAX_BLOCKS, MAX_FPS, MAX_SIDE, MAX_VIDEOS, VideoOptions

if TYPE_CHECKING:
    from mmspec.pipelines.video_result import VideoResult

_OUT = Path("video-out")
_FLAGS = {"num_videos_per_prompt": "num-videos"}
_LOADING = ("shared", "preset", "reward", "reward_weights", "strict")
_OPTIONS = (
    "blocks",
    "num_frames",
    "height",
    "width",
    "fps",
    "seed",
    "num_videos_per_prompt",
    "score",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes; defaults come from :class:`VideoOptions`."""
    add_prompts(parser, "what to show")
    _add_method(parser)
    _add_generation(parser)
    group = parser.add_argument_group("results")
    group.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=_OUT,
        help="folder of the MP4 files (%(default)s)",
    )
    flags = {
        "compare": "also have the target make every block from the same noise, print the speed-up",
        "score": "have the small world's judge look at the frames (embedded models)",
        "strip": "also write a picture of each block with who wrote it, its score and its seconds",
        "burn-in": "write the same on the frames of the video",
    }
    for name, about in flags.items():
        group.add_argument(f"--{name}", action="store_true", help=about)
    add_machine(parser)
    add_output(parser)


def _add_method(parser: argparse.ArgumentParser) -> None:
    group = add_model(parser, "video", None)
    group.add_argument(
        "--shared",
        metavar="PATH",
        help="folder or Hub id of the autoencoder and the text encoder, where not with the model",
    )
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="how they are run: self-forcing, causvid, krea or anyflow-far",
    )
    group.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one thing that is different from that, such as window=9; repeat for several",
    )
    group.add_argument(
        "--threshold",
        type=_tau,
        metavar="TAU",
        help="lowest score that keeps a drafted block; inf keeps none, --threshold=-inf all",
    )
    group.add_argument(
        "--reward",
        metavar="NAME",
        help=f"what sdvg scores by: {', '.join((*catalog.REWARDS, *catalog.WEIGHED_REWARDS))}, or "
        "one of pixels alone such as temporal-seam (the default), sharpness, warp-error",
    )
    group.add_argument(
        "--reward-weights", metavar="PATH", help="file or folder of the reward's weights"
    )
    add_own_options(group, "the target goes on alone")


def _add_generation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generation")
    kinds: dict[str, Any] = {
        "blocks": (whole(1, MAX_BLOCKS), "blocks of a video"),
        "num_frames": (whole(1, 100 * MAX_BLOCKS), "frames of a video, instead of blocks"),
        "height": (whole(1, MAX_SIDE), "pixels"),
        "width": (whole(1, MAX_SIDE), "pixels"),
        "fps": (number(0, MAX_FPS, above=True), "frames a second"),
        "seed": (whole(0, 2**62), "video i draws from seed + i"),
        "num_videos_per_prompt": (whole(1, MAX_VIDEOS), "videos of each prompt"),
    }
    unsaid = {"seed": "random", "num_frames": "by blocks"}
    add_numbers(group, VideoOptions, kinds, _FLAGS, unsaid)


def run(args: argparse.Namespace) -> int:
    """Make videos; 1 if a block could not be made, or it was interrupted."""
    options = _check(args)
    console = Console(args)
    prompts = prompts_of(args, "video")
    args.out.mkdir(parents=True, exist_ok=True)  # before minutes of work rather than after
    more = {name: getattr(args, name) for name in _LOADING}
    settings = pairs_of(args.setting, "--setting")
    pipe = load_pipeline("video", args, settings=settings, **more, **options)
    from mmspec.commands.video_output import Writer, report
    from mmspec.pipelines.result import Interrupted
    from mmspec.pipelines.video_result import UnfinishedError

    writer = Writer(args.out, console, burn=args.burn_in, strip=args.strip)
    try:
        begun = pipe.begin(
            prompts,
            compare=args.compare,
            on_video=writer.save,
            progress=not args.quiet and sys.stderr.isatty(),
            **{name: getattr(args, name) for name in _OPTIONS},
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    stopped = ""
    try:
        result: VideoResult = begun.run()
    except Interrupted as stop:
        result, stopped = stop.result, "interrupted"
    except UnfinishedError as stop:
        result, stopped = stop.result, str(stop)
    report(result, console)
    console.document(result.to_json())
    if stopped:
        console.error(f"{stopped}; {writer.kept}")
    return 1 if stopped else 0


def _check(args: argparse.Namespace) -> dict[str, Any]:
    """Wrong usage that argparse cannot see, before anything heavy is imported.

    Returns:
        The method's own options.
    """
    if not args.prompts and args.file is None:
        raise UsageError("nothing to show: give a PROMPT or --prompts FILE")
    if args.blocks is not None and args.num_frames is not None:
        raise UsageError("give --blocks or --num-frames, not both: one tells the other")
    check_method(args, "video")
    check_folder(args.out)
    check_score(args, "video")
    options = pairs_of(args.option)
    if args.threshold is not None:
        options["threshold"] = args.threshold
    check_options(args, "video", options)
    try:
        check_rewarded(args.method, args.reward, args.reward_weights, options)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return options


def _tau(text: str) -> float:
    """A threshold: any number, infinite ones included."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; infinite ones are allowed")
    return value
