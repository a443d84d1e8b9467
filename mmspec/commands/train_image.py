"""`mmspec train image-eagle`: an EAGLE drafter for a model of picture tokens."""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmspec import catalog
from mmspec.commands.console import Console, UsageError, hush_libraries
from mmspec.commands.prompts import lines_of, read_text
from mmspec.commands.recipes import add_recipe, recipe_of
from mmspec.commands.running import check_folder
from mmspec.commands.values import add_machine, whole
from mmspec.pipelines.image_options import Subject
from mmspec.pipelines.prompts import check_prompts

if TYPE_CHECKING:
    from torch import Tensor

KIND = "image-eagle"
ABOUT = "an EAGLE drafter for a model of picture tokens"
_WORLD_SEED = 60_000_000  # prompts of the drafter; no other training reads these
_MOST_CLASSES = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    from image_ar.discrete.eagle.recipe import Recipe

    models = ", ".join(catalog.embedded("image"))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the drafter")
    parser.add_argument(
        "--model", default="tiny", help=f"{models}, a folder or a Hub id (default: %(default)s)"
    )
    parser.add_argument("--revision", help="revision of a Hub model")
    parser.add_argument("--vq", metavar="PATH", help="image tokenizer of an official transformer")
    parser.add_argument(
        "--text-encoder", metavar="PATH", help="T5 encoder of an official LlamaGen text model"
    )
    parser.add_argument(
        "--image-size", type=whole(1, 8192), metavar="N", help="pixels of a side, where not known"
    )
    group = parser.add_argument_group("pictures to learn from (default: the model's own drawings)")
    group.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="what it draws, one a line (default: prompts of the small world, or all classes)",
    )
    group.add_argument(
        "--class-id", type=_classes, nargs="+", metavar="N", help="classes it draws: N, or N-M"
    )
    group.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="pictures instead of drawings; NAME.txt beside each says what it shows",
    )
    group.add_argument("--samples", type=whole(2), default=1000, help="how many (%(default)s)")
    group.add_argument(
        "--drawn", type=Path, metavar="FILE", help="its drawings (default: DIR/drawn.jsonl)"
    )
    parser.add_argument("--start", metavar="DRAFTER", help="folder of a drafter to start from")
    parser.add_argument(
        "--heads", type=whole(1), default=0, metavar="N", help="heads (default: 64 channels each)"
    )
    parser.add_argument(
        "--intermediate-size",
        type=whole(1),
        default=0,
        metavar="N",
        help="width of the feed-forward part (default: 8/3 of the model's width)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_recipe(parser, Recipe())
    add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Train; a run that was interrupted goes on when started again."""
    from image_ar.discrete.eagle.recipe import Recipe
    from image_ar.discrete.eagle.trainer import train
    from mmspec.pipelines import pipeline

    recipe = recipe_of(Recipe, args)
    given = _given(args)
    console = Console(args)
    hush_libraries()
    names = ("device", "dtype", "revision", "vq", "text_encoder", "image_size")
    # The fastest exact method: what it draws has the law of the model's own pictures.
    pipe = pipeline(
        "image", args.model, method="scd", **{name: getattr(args, name) for name in names}
    )
    network = _network(args, pipe.target, recipe.seed)
    if args.data is not None:
        subjects, tokens = _encoded(args, pipe.target, recipe.batch)
        about = f"pictures of {args.data.name}"
    else:
        subjects = _repeated(given or _usual(args, pipe.target), args.samples)
        _check(pipe.target, subjects)
        tokens = _drawn(args, pipe.engine, subjects, recipe)
        about = "the target's own drawings"
    train(
        pipe.target,
        subjects,
        tokens,
        network,
        args.out,
        recipe,
        name=args.model,
        data=about,
        progress=not args.quiet,
    )
    console.result(str(args.out))
    return 0


def _given(args: argparse.Namespace) -> list[Subject]:
    """Subjects that the command line names, before anything is loaded."""
    ways = {"--prompts": args.prompts, "--class-id": args.class_id, "--data": args.data}
    named = [flag for flag, value in ways.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"give one of {', '.join(ways)}; {' and '.join(named)} were given")
    check_folder(args.out)
    if args.samples <= args.held_out:
        raise UsageError(
            f"--samples {args.samples} leaves nothing to learn from: {args.held_out} are held out"
        )
    if args.class_id is not None:
        return [Subject(class_id=one) for some in args.class_id for one in some]
    if args.prompts is None:
        return []
    prompts = lines_of(read_text(args.prompts))
    if not prompts:
        raise UsageError(f"there is no prompt in '{args.prompts}'; write one a line")
    try:
        check_prompts(prompts, args.model)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return [Subject(prompt=one) for one in prompts]


def _usual(args: argparse.Namespace, target: Any) -> list[Subject]:
    """What a model draws when nothing is named: its classes, or prompts of the small world.

    Raises:
        UsageError: Neither is known.
    """
    if target.classes is not None:
        return [Subject(class_id=place) for place in range(len(target.classes))]
    if args.model in catalog.embedded("image"):
        return [Subject(prompt=text) for text in world_prompts(args.samples)]
    raise UsageError(
        f"say what '{args.model}' is to draw: --prompts FILE for a model of texts, --class-id N "
        "or N-M for one of classes, or --data DIR for pictures"
    )


def _repeated(subjects: list[Subject], count: int) -> list[Subject]:
    """``count`` subjects, from the start again where there are fewer."""
    return [subjects[place % len(subjects)] for place in range(count)]


def _check(target: Any, subjects: Sequence[Subject]) -> None:
    """Refuse what the model does not take: a prompt shows it, and classes cost nothing."""
    from image_ar.discrete.drawings import inputs_of

    try:
        inputs_of(target, subjects if subjects[0].prompt is None else subjects[:1])
    except ValueError as error:
        raise UsageError(str(error)) from None


def _network(args: argparse.Namespace, target: Any, seed: int) -> Any:
    """A new drafter, or the one to start from.

    Raises:
        UsageError: A shape that does not fit the model.
        ValueError: The folder to start from holds no drafter, or one of another shape.
    """
    import torch

    from image_ar.discrete.eagle.network import ImageEagle
    from image_ar.discrete.eagle.recipe import config_for
    from image_ar.discrete.eagle.storage import load

    try:
        config = config_for(target, args.heads, args.intermediate_size)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if args.start is None:
        network = ImageEagle(config)
        network.reset_parameters(torch.Generator().manual_seed(seed))
        return network
    network = load(args.start)
    differ = [key for key, value in config.to_dict().items() if vars(network.config)[key] != value]
    if differ:
        raise ValueError(
            f"the drafter in {args.start} has another {', '.join(differ)}; give one that was made "
            "for this model, or the same --heads and --intermediate-size"
        )
    return network


def _drawn(args: argparse.Namespace, engine: Any, subjects: list[Subject], recipe: Any) -> Tensor:
    from image_ar.discrete.drawings import own_drawings

    return own_drawings(
        engine,
        subjects,
        args.drawn or args.out / "drawn.jsonl",
        batch=recipe.batch,
        seed=recipe.seed,
        progress=not args.quiet,
    )


def _encoded(args: argparse.Namespace, target: Any, batch: int) -> tuple[list[Subject], Tensor]:
    from image_ar.discrete.drawings import encoded_pictures

    pictures, words = captioned_pictures(args.data, args.samples)
    subjects = subjects_of_words(words, target.classes)
    if len(subjects) <= args.held_out:
        raise UsageError(
            f"'{args.data}' has {len(subjects)} pictures and {args.held_out} are held out; add "
            "some, or lower --held-out"
        )
    _check(target, subjects)
    return subjects, encoded_pictures(target, pictures, batch, progress=not args.quiet)


def captioned_pictures(folder: Path, count: int) -> tuple[list[Any], list[str]]:
    """Pictures of a folder, and the text in the file of the same name beside each.

    Raises:
        ValueError: No pictures, one that cannot be read, a clip, or a missing or empty text.
    """
    from mmspec.media import collect_inputs, read_media

    pictures, words = [], []
    for path in collect_inputs([folder])[:count]:
        media = read_media(path)
        if media.is_video:
            raise ValueError(f"'{path.name}' is a clip; image drafters learn from pictures")
        beside = path.with_suffix(".txt")
        if not beside.is_file():
            raise ValueError(
                f"'{path.name}' has no '{beside.name}' beside it; write there what it shows, a "
                "prompt or the number of a class"
            )
        text = " ".join(lines_of(read_text(beside)))
        if not text:
            raise ValueError(f"'{beside.name}' is empty; write there what the picture shows")
        pictures.append(media.frames[0])
        words.append(text)
    return pictures, words


def subjects_of_words(words: Sequence[str], classes: Sequence[str] | None) -> list[Subject]:
    """What pictures show: classes where all words name or number some, else prompts.

    Args:
        words: One text a picture.
        classes: Names of the model's classes, where it has any.
    """
    places = {name: place for place, name in enumerate(classes or ())}
    numbers = [int(text) if text.isdecimal() else places.get(text) for text in words]
    if None in numbers:
        return [Subject(prompt=text) for text in words]
    return [Subject(class_id=number) for number in numbers]


def world_prompts(count: int) -> list[str]:
    """Prompts of the small world."""
    scene = catalog.resolve("adapters.tiny.world.prompts:prompt_scene")
    write = catalog.resolve("adapters.tiny.world.prompts:write_prompt")
    draws = (random.Random(_WORLD_SEED + place) for place in range(count))
    return [write(scene(drawn), drawn) for drawn in draws]


def _classes(text: str) -> range:
    """``N`` or ``N-M``, both ends included."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a class number nor a range N-M")
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last < _MOST_CLASSES:
        raise argparse.ArgumentTypeError(f"{text} is no range of classes; give the lower one first")
    return range(first, last + 1)
