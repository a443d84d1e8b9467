"""`mmspec image`: prompts and classes to pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from mmspec.pipelines.image_options import MAX_IMAGES, MODEL_OPTIONS, ImageOptions
from mmspec.pipelines.options import MAX_BATCH

if TYPE_CHECKING:
    from mmspec.pipelines.image_result import ImageResult

_OUT = Path("image-out")
_LONGEST = 4096
_FLAGS = {
    "num_images_per_prompt": "num-images",
    "num_inference_steps": "steps",
    "num_ar_steps": "ar-steps",
}
_LOADING = ("vq", "vae", "text_encoder", "image_size", "strict", "bias_budget")
_OPTIONS = (*MODEL_OPTIONS, "seed", "batch_size", "score", "num_images_per_prompt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes; defaults come from :class:`ImageOptions`."""
    add_prompts(parser, "what to draw")
    parser.add_argument(
        "--class-id", type=whole(0), nargs="+", metavar="N", help="classes to draw, by number"
    )
    parser.add_argument("--list-classes", action="store_true", help="list the classes and stop")
    _add_method(parser)
    _add_generation(parser)
    group = parser.add_argument_group("results")
    group.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=_OUT,
        help="folder of the PNG files (%(default)s)",
    )
    group.add_argument(
        "--compare",
        action="store_true",
        help="also draw plainly from the same seeds, print the speed-up",
    )
    group.add_argument(
        "--score",
        action="store_true",
        help="have the small world's judge look at the pictures (embedded models)",
    )
    group.add_argument(
        "--heatmap", action="store_true", help="also write who drew each cell, over the picture"
    )
    group.add_argument(
        "--histogram",
        action="store_true",
        help="also draw what drafts were judged by, as a histogram (latent vectors)",
    )
    add_machine(parser)
    add_output(parser)


def _add_method(parser: argparse.ArgumentParser) -> None:
    group = add_model(parser, "image", _LONGEST)
    group.add_argument(
        "--vq", metavar="PATH", help="image tokenizer of an official LlamaGen transformer"
    )
    group.add_argument("--vae", metavar="PATH", help="autoencoder of an official MAR network")
    group.add_argument(
        "--text-encoder", metavar="PATH", help="T5 encoder of an official LlamaGen text model"
    )
    group.add_argument(
        "--image-size", type=whole(1, 8192), metavar="N", help="pixels of a side, where not known"
    )
    group.add_argument(
        "--bias-budget",
        type=number(0, 1),
        metavar="B",
        help="largest mean one-step bias a relaxed method may reach (default: no limit)",
    )
    group.add_argument(
        "--mode",
        metavar="NAME",
        help="how cspd and cspd-self judge: tolerance, smoothed, stepwise, exact, published, "
        "released",
    )
    add_own_options(group, "decode plainly")


def _add_generation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("generation")
    kinds: dict[str, Any] = {
        "guidance_scale": (number(0), "strength of guidance, 1 is none"),
        "temperature": (number(0), "0 is greedy"),
        "top_k": (whole(0), "keep the K most likely codes, 0 keeps all"),
        "top_p": (number(0, 1, above=True), "keep the smallest set with this mass"),
        "cfg_interval": (whole(-1), "guidance ends after N cells, -1 never ends it"),
        "num_inference_steps": (whole(2), "denoising steps of a latent vector"),
        "num_ar_steps": (whole(1), "steps in which a masked model fills the picture"),
        "seed": (whole(0, 2**62), "picture i draws from seed + i"),
        "batch_size": (whole(1, MAX_BATCH), "pictures drawn together"),
        "num_images_per_prompt": (whole(1, MAX_IMAGES), "pictures of each prompt or class"),
    }
    add_numbers(group, ImageOptions, kinds, _FLAGS, {"seed": "random"})
    group.add_argument(
        "--guidance-schedule",
        choices=("linear", "constant"),
        help="whether guidance grows over the picture (latent vectors; default: the model's own)",
    )


def run(args: argparse.Namespace) -> int:
    """Draw; 1 if it was interrupted."""
    options = _check(args)
    console = Console(args)
    prompts = None if args.class_id or args.list_classes else prompts_of(args, "image")
    if not args.list_classes:
        args.out.mkdir(parents=True, exist_ok=True)  # before minutes of work rather than after
    more = {name: getattr(args, name) for name in _LOADING}
    pipe = load_pipeline("image", args, **more, **options)
    from mmspec.commands.image_output import Writer, list_classes, report
    from mmspec.pipelines.result import Interrupted

    if args.list_classes:
        return list_classes(pipe, args.model, console)
    writer = Writer(args.out, console)
    try:
        begun = pipe.begin(
            prompts,
            class_id=args.class_id,
            compare=args.compare,
            on_batch=writer.save,
            progress=not args.quiet and sys.stderr.isatty(),
            **{name: getattr(args, name) for name in _OPTIONS},
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    interrupted = False
    try:
        result: ImageResult = begun.run()
    except Interrupted as stop:
        result, interrupted = stop.result, True
    if args.heatmap:
        writer.save_heatmaps(result)
    if args.histogram:
        writer.save_histogram(result)
    report(result, console)
    console.document(result.to_json())
    if interrupted:
        console.error(f"interrupted; {writer.kept}")
    return 1 if interrupted else 0


def _check(args: argparse.Namespace) -> dict[str, Any]:
    """Wrong usage that argparse cannot see, before anything heavy is imported.

    Returns:
        The method's own options.
    """
    given = bool(args.prompts) or args.file is not None
    if args.list_classes and (given or args.class_id):
        raise UsageError("--list-classes draws nothing; leave out prompts and --class-id")
    if given and args.class_id:
        raise UsageError("give prompts or --class-id, not both")
    if not (given or args.class_id or args.list_classes):
        raise UsageError("nothing to draw: give a PROMPT, --prompts FILE or --class-id N")
    check_method(args, "image")
    check_folder(args.out)
    check_score(args, "image")
    options = pairs_of(args.option)
    if args.mode is not None:
        options["mode"] = args.mode
    check_options(args, "image", options)
    return options
