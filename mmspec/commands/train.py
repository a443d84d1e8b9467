"""`mmspec train`: a drafter for a target, or the embedded models."""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.commands import train_image
from mmspec.commands.console import Console, UsageError, hush_libraries
from mmspec.commands.recipes import add_recipe, recipe_of
from mmspec.commands.values import add_machine, whole

ARCHITECTURES = {
    "eagle": "an EAGLE-2 drafter on every visual token",
    "vispec": "a ViSpec drafter: few visual tokens and one vector of the picture",
    "specvlm": "a SpecVLM drafter: a gate shortens pictures",
    "flash": "a FLASH drafter: several tokens a pass",
    "eagle3": "an EAGLE-3 drafter on several layers of the target",
}
# Models of the embedded set that are no drafters on features, in the order of their dependence:
# the script, and its arguments, in which a part in braces stands for its folder.
_GPT = "adapters.tiny.images.train_gpt:main"
_MULO = "adapters.tiny.images.train_mulo:main"
# What finished models are made from, kept among the checkpoints only: a stage of the text encoder,
# the autoencoder whose latents the video models make, the video drafter before it has a target to
# learn from, which its training goes on from, and the shallow model that its target grows from.
_PARSER, _FIRST_VAE, _ALONE, _SHALLOW = "parser", "wan/first-vae", "wan/alone", "wan/shallow"
NOT_EMBEDDED = (_PARSER, _FIRST_VAE, _ALONE, _SHALLOW)
_GOES_ON = {_ALONE: "wan/drafter"}
_VQ = ("--vq", "{llamagen/vq}")
_MAR = "adapters.tiny.latents.train_mar:main"
_VAE = ("--vae", "{mar/vae}")
_WAN = "adapters.tiny.videos.train_wan:main"
_FILMS = ("--video-vae", "{wan/first-vae}", "--text-encoder", "{wan/text_encoder}")
_READS_TEXT = (*_VQ, "--text-encoder", "{llamagen/text_encoder}")
TINY_MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "captioner": ("adapters.tiny.train_captioner:main", ()),
    "draft-text": ("adapters.tiny.train_blind:main", ()),
    "judge": ("adapters.tiny.images.train_judge:main", ()),
    "llamagen/vq": ("adapters.tiny.images.train_vq:main", ()),
    _PARSER: ("adapters.tiny.images.train_text_encoder:main", ()),
    "llamagen-c2i": (_GPT, ("class", *_VQ)),
    "llamagen": (
        _GPT,
        ("text", *_VQ, "--text-encoder", "{parser}", "--start", "{llamagen-c2i}/gpt"),
    ),
    "image-eagle": ("adapters.tiny.images.train_eagle:main", ("--target", "{llamagen}")),
    "llamagen-low": (_MULO, ("low", *_READS_TEXT)),
    "upsampler": (_MULO, ("upsampler", *_VQ)),
    "mar/vae": ("adapters.tiny.latents.train_vae:main", ()),
    "mar": (_MAR, ("causal", *_VAE)),
    "mar-draft": (_MAR, ("draft", *_VAE, "--teacher", "{mar}")),
    "mar-masked": (_MAR, ("masked", *_VAE)),
    _FIRST_VAE: ("adapters.tiny.videos.train_video_vae:main", ()),
    "wan/vae": ("adapters.tiny.videos.train_quick_vae:main", ("--teacher", "{wan/first-vae}")),
    "wan/text_encoder": ("adapters.tiny.videos.train_video_text:main", ()),
    _ALONE: (_WAN, ("drafter", *_FILMS)),
    _SHALLOW: (_WAN, ("shallow", *_FILMS, "--weak", "{wan/alone}")),
    "wan/target": (
        _WAN,
        ("target", *_FILMS, "--start", "{wan/shallow}", "--weak", "{wan/alone}"),
    ),
    "wan/drafter": (_WAN, ("drafter", *_FILMS, "--teacher", "{wan/target}")),
}
# What is left of a finished training; answers, log and checkpoints stay behind.
_FINISHED = ("config.json", "model.safetensors", "README.md", "curve.png")
# Recipes of the embedded drafters, which share their samples: a wide layer for a narrow target, and
# as many own predictions in a row as pay.
_TINY_COMMON = (
    *("--samples", "2400", "--held-out", "64", "--max-new-tokens", "112"),
    *("--steps", "700", "--batch", "32", "--rate", "1.5e-3", "--depth", "5"),
)
_TINY_LOSS = ("--feature-weight", "0.2", "--logit-weight", "1.0", "--decay", "0.8")
_TINY_WIDTH = ("--intermediate-size", "640")
TINY_DRAFTERS = {
    "eagle": _TINY_WIDTH,
    # ViSpec's first stage is the drafter above; only then does it learn to see through its adaptor,
    # which has a query for each of the nine cells and one for the whole.
    "vispec": (
        *_TINY_WIDTH,
        *("--start", "EAGLE", "--rate", "1e-3", "--compressor", '{"kind": "queries", "num_q": 10}'),
    ),
    "specvlm": (*_TINY_WIDTH, *_TINY_LOSS, "--token-weight", "0.02"),
    "flash": (*_TINY_LOSS, "--rate", "4e-3", "--compressor", '{"kind": "latent", "tokens": 12}'),
}
_WORLD_SEED = 30_000_000  # training pictures of the drafter; no other training reads these
_WORLD_CLIPS = 5  # one sample in so many is a clip
_WORLD_FRAMES = (8, 16)  # of clips, in turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes: an architecture or ``tiny``, each with arguments of its own."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for kind, about in ARCHITECTURES.items():
        _add_drafter(what.add_parser(kind, help=about, allow_abbrev=False), kind)
    image = what.add_parser(train_image.KIND, help=train_image.ABOUT, allow_abbrev=False)
    train_image.add_arguments(image)
    tiny = what.add_parser("tiny", help="the embedded models, from nothing", allow_abbrev=False)
    parts = ", ".join((*TINY_MODELS, *TINY_DRAFTERS))
    tiny.add_argument("parts", nargs="*", metavar="PART", help=f"{parts} (default: all)")
    tiny.add_argument("--out", type=Path, help="folder of the models (default: the package's own)")
    tiny.add_argument("--work", type=Path, default=Path("runs"), help="checkpoints")
    tiny.add_argument("--threads", type=whole(1), help="CPU threads (default: torch's own choice)")


def _add_drafter(parser: argparse.ArgumentParser, kind: str) -> None:
    from lm_drafting.training.presets import preset

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
    parser.add_argument(
        "--no-pictures", action="store_true", help="ask without pictures: a text-only first stage"
    )
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="FILE",
        help="answers of the target to the same samples (default: DIR/answers.jsonl)",
    )
    parser.add_argument(
        "--start", metavar="DRAFTER", help="folder or Hub id of a drafter to start from"
    )
    parser.add_argument(
        "--compressor",
        metavar="SPEC",
        help="what shortens pictures: a kind such as pool, or JSON with its options",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument(
        "--intermediate-size",
        type=whole(1),
        metavar="N",
        help="width of the drafter's feed-forward part (default: the target's)",
    )
    if kind == "eagle3":
        parser.add_argument(
            "--draft-vocab",
            type=whole(1),
            default=0,
            metavar="N",
            help="tokens the drafter can say, the answers' most frequent (default: all)",
        )
    add_recipe(parser, preset(kind))
    add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Train; a run that was interrupted goes on when started again."""
    if getattr(args, "threads", None):
        import torch

        torch.set_num_threads(args.threads)
    if args.what == "tiny":
        return _tiny(args)
    return train_image.run(args) if args.what == train_image.KIND else _drafter(args, args.what)


def _tiny(args: argparse.Namespace) -> int:
    known = (*TINY_MODELS, *TINY_DRAFTERS)
    unknown = sorted(set(args.parts) - set(known))
    if unknown:
        raise UsageError(f"unknown part {', '.join(unknown)}; parts are {', '.join(known)}")

    def where(part: str) -> Path:
        if part in NOT_EMBEDDED:
            made: Path = args.work / part / "model"
            return made
        folder: Path = catalog.resolve("adapters.tiny:folder")(part)
        return args.out / part if args.out else folder

    for part in args.parts or known:
        place = where(part)
        work = args.work / _GOES_ON.get(part, part)
        words = ["--threads", str(args.threads)] if args.threads else []
        if part in TINY_MODELS:
            script, given = TINY_MODELS[part]
            own = [re.sub(r"\{(.+)\}", lambda found: str(where(found[1])), one) for one in given]
            catalog.resolve(script)([*own, *words, "--out", str(place), "--work", str(work)])
            continue
        parser = argparse.ArgumentParser()
        _add_drafter(parser, part)
        words += ["--model", str(args.out / "captioner") if args.out else "tiny"]
        words += ["--answers", str(args.work / "answers.jsonl"), "--out", str(work)]
        recipe = [str(place.parent / "eagle") if w == "EAGLE" else w for w in TINY_DRAFTERS[part]]
        _drafter(parser.parse_args([*words, *_TINY_COMMON, *recipe]), part)
        place.mkdir(parents=True, exist_ok=True)
        for file in _FINISHED:
            shutil.copy2(work / file, place / file)
    return 0


def _drafter(args: argparse.Namespace, kind: str) -> int:
    import torch

    from lm_drafting.networks import build_network, complete_config, shape_for
    from lm_drafting.storage import start_from
    from lm_drafting.training.recipe import Recipe
    from lm_drafting.training.trainer import answer, train
    from mmspec.pipelines import pipeline

    recipe = recipe_of(Recipe, args)
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
    if args.no_pictures:
        samples = [replace(sample, images=[]) for sample in samples]
    shape = shape_for(pipe.target)
    if args.intermediate_size:
        shape["intermediate_size"] = args.intermediate_size
    if args.compressor:
        shape["compressor"] = compressor_spec(args.compressor)
    if kind == "eagle3":
        shape["draft_vocab_size"] = args.draft_vocab
    network = build_network(kind, complete_config(kind, shape, pipe.target))
    network.reset_parameters(torch.Generator().manual_seed(recipe.seed))
    store = args.answers or args.out / "answers.jsonl"
    answers = answer(pipe.target, samples, store, recipe, progress=not args.quiet)
    if kind == "eagle3":
        said = torch.tensor([token for ids in answers for token in ids])
        network.choose_vocabulary(said.bincount(minlength=shape["vocab_size"]))  # type: ignore[operator]
    if args.start:
        console.say(start_from(network, args.start, pipe.target))
    train(
        pipe.target,
        samples,
        answers,
        network,
        args.out,
        recipe,
        name=args.model,
        data=f"{len(samples)} answers of the target to {about}",
        progress=not args.quiet,
    )
    console.result(str(args.out))
    return 0


def compressor_spec(text: str) -> dict[str, Any]:
    """A visual compressor from the command line: its kind, or JSON with ``kind`` and options."""
    if not text.lstrip().startswith("{"):
        return {"kind": text}
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise UsageError(f"--compressor is neither a kind nor JSON: {error}") from None


def world_samples(count: int, prompts: Sequence[str] | None = None) -> list[Any]:
    """Pictures and clips of the embedded world with its own prompts, or with those given."""
    from PIL import Image

    from lm_drafting.training.data import Sample

    picture = catalog.resolve("adapters.tiny.data:picture_example")
    clip = catalog.resolve("adapters.tiny.data:clip_example")
    samples = []
    for index in range(count):
        seed = _WORLD_SEED + index
        turn, place = divmod(index, _WORLD_CLIPS)
        frames = _WORLD_FRAMES[turn % len(_WORLD_FRAMES)]
        made = clip(seed, frames) if place == _WORLD_CLIPS - 1 else picture(seed)
        asked = random.Random(seed).choice(list(prompts)) if prompts else made.prompt
        samples.append(Sample([Image.fromarray(image) for image in made.images], asked))
    return samples


def folder_samples(folder: Path, count: int, prompts: Sequence[str] | None = None) -> list[Any]:
    """Pictures and clips of a folder; all are read first, so that a bad file stops nothing later.

    Raises:
        ValueError: A file that cannot be read.
    """
    from lm_drafting.training.data import Sample
    from mmspec.media import collect_inputs, read_media
    from mmspec.pipelines import default_prompt

    samples = []
    for index, path in enumerate(collect_inputs([folder])[:count]):
        media = read_media(path)
        asked = random.Random(index).choice(list(prompts)) if prompts else None
        samples.append(Sample(media.frames, asked or default_prompt(clip=media.is_video)))
    return samples
