"""`mmspec train`: a drafter for a target, or the embedded models."""

from __future__ import annotations

import argparse
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.commands.console import Console, UsageError, hush_libraries
from mmspec.commands.values import add_machine, whole

# Parts of the embedded set, in the order in which they depend on each other.
TINY_PARTS = {
    "captioner": "adapters.tiny.train_captioner:main",
    "draft-text": "adapters.tiny.train_blind:main",
}
# What is left of a finished training; answers, log and checkpoints stay behind.
_FINISHED = ("config.json", "model.safetensors", "README.md", "curve.png")
# The recipe of the embedded drafter: a wide layer for a narrow target, and as many own predictions
# in a row as its trees are deep.
TINY_EAGLE = (
    *("--samples", "2400", "--held-out", "64", "--max-new-tokens", "112"),
    *("--steps", "700", "--batch", "32", "--depth", "5", "--rate", "1.5e-3"),
    *("--intermediate-size", "640"),
)
_WORLD_SEED = 30_000_000  # training pictures of the drafter; no other training reads these
_WORLD_CLIPS = 5  # one sample in so many is a clip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes: ``eagle`` or ``tiny``, each with arguments of its own."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    _add_eagle(what.add_parser("eagle", help="an EAGLE drafter for a target", allow_abbrev=False))
    tiny = what.add_parser("tiny", help="the embedded models, from nothing", allow_abbrev=False)
    tiny.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"{', '.join((*TINY_PARTS, 'eagle'))} (default: all)",
    )
    tiny.add_argument("--out", type=Path, help="folder of the models (default: the package's own)")
    tiny.add_argument("--work", type=Path, default=Path("runs"), help="checkpoints")
    tiny.add_argument("--threads", type=whole(1), help="CPU threads (default: torch's own choice)")


def _add_eagle(parser: argparse.ArgumentParser) -> None:
    from lm_drafting.eagle.recipe import Recipe

    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the drafter")
    parser.add_argument(
        "--model", default="tiny", help="tiny, a folder or a Hub id (default: %(default)s)"
    )
    parser.add_argument("--revision", help="revision of a Hub model")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of pictures and clips (default: pictures of the embedded world)",
    )
    parser.add_argument("--samples", type=whole(2), default=3000, help="how many (%(default)s)")
    parser.add_argument("--prompt", action="append", help="what to ask; repeat for several")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument(
        "--intermediate-size",
        type=whole(1),
        metavar="N",
        help="width of the drafter's feed-forward part (default: the target's)",
    )
    group = parser.add_argument_group("recipe")
    about = attribute_docs(Recipe)
    for option in fields(Recipe):
        flag = f"--{option.name.replace('_', '-')}"
        text = f"{about.get(option.name, option.name)} (default: %(default)s)"
        kind = type(option.default)
        if kind is bool:
            group.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=option.default, help=text
            )
        else:
            group.add_argument(flag, type=kind, default=option.default, metavar="N", help=text)
    add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Train; a run that was interrupted goes on when started again."""
    if getattr(args, "threads", None):
        import torch

        torch.set_num_threads(args.threads)
    return _tiny(args) if args.what == "tiny" else _eagle(args)


def _tiny(args: argparse.Namespace) -> int:
    known = (*TINY_PARTS, "eagle")
    unknown = sorted(set(args.parts) - set(known))
    if unknown:
        raise UsageError(f"unknown part {', '.join(unknown)}; parts are {', '.join(known)}")
    for part in args.parts or known:
        place = args.out / part if args.out else catalog.resolve("adapters.tiny:folder")(part)
        work = args.work / part
        words = ["--threads", str(args.threads)] if args.threads else []
        if part == "eagle":
            parser = argparse.ArgumentParser()
            _add_eagle(parser)
            model = str(args.out / "captioner") if args.out else "tiny"
            _eagle(parser.parse_args([*words, *TINY_EAGLE, "--out", str(work), "--model", model]))
            place.mkdir(parents=True, exist_ok=True)
            for file in _FINISHED:
                shutil.copy2(work / file, place / file)
        else:
            catalog.resolve(TINY_PARTS[part])([*words, "--out", str(place), "--work", str(work)])
    return 0


def _eagle(args: argparse.Namespace) -> int:
    from lm_drafting.eagle.recipe import Recipe
    from lm_drafting.eagle.training import shape_for, train_eagle
    from mmspec.pipelines import pipeline

    try:
        recipe = Recipe(**{option.name: getattr(args, option.name) for option in fields(Recipe)})
    except ValueError as error:
        raise UsageError(str(error)) from None
    console = Console(args)
    hush_libraries()
    pipe = pipeline(
        "caption",
        args.model,
        method="none",
        device=args.device,
        dtype=args.dtype,
        revision=args.revision,
    )
    if args.data is None:
        samples, about = world_samples(args.samples, args.prompt), "scenes and clips of the world"
    else:
        samples, about = folder_samples(args.data, args.samples, args.prompt), args.data.name
    shape = shape_for(pipe.target)
    if args.intermediate_size:
        shape = replace(shape, intermediate_size=args.intermediate_size)
    train_eagle(
        pipe.target,
        samples,
        args.out,
        recipe,
        config=shape,
        name=args.model,
        data=f"{len(samples)} answers of the target to {about}",
        progress=not args.quiet,
    )
    console.result(str(args.out))
    return 0


def world_samples(count: int, prompts: Sequence[str] | None = None) -> list[Any]:
    """Pictures and clips of the embedded world with its own prompts, or with those given."""
    from PIL import Image

    from lm_drafting.eagle.data import Sample

    picture = catalog.resolve("adapters.tiny.data:picture_example")
    clip = catalog.resolve("adapters.tiny.data:clip_example")
    samples = []
    for index in range(count):
        seed = _WORLD_SEED + index
        made = clip(seed, 8) if index % _WORLD_CLIPS == _WORLD_CLIPS - 1 else picture(seed)
        asked = random.Random(seed).choice(list(prompts)) if prompts else made.prompt
        samples.append(Sample([Image.fromarray(image) for image in made.images], asked))
    return samples


def folder_samples(folder: Path, count: int, prompts: Sequence[str] | None = None) -> list[Any]:
    """Pictures and clips of a folder; all are read first, so that a bad file stops nothing later.

    Raises:
        ValueError: A file that cannot be read.
    """
    from lm_drafting.eagle.data import Sample
    from mmspec.media import collect_inputs, read_media
    from mmspec.pipelines import default_prompt

    samples = []
    for index, path in enumerate(collect_inputs([folder])[:count]):
        media = read_media(path)
        asked = random.Random(index).choice(list(prompts)) if prompts else None
        samples.append(Sample(media.frames, asked or default_prompt(clip=media.is_video)))
    return samples


def attribute_docs(cls: type) -> dict[str, str]:
    """What the ``Attributes:`` section of a docstring says of each field, for help texts."""
    section = (cls.__doc__ or "").partition("Attributes:")[2]
    entries = re.findall(r"^ {8}(\w+): (.+(?:\n {9,}.+)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".").replace("%", "%%") for name, text in entries}
