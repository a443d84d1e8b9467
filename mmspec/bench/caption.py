"""Who takes part in captioning the same pictures or clips, and on which inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmspec import catalog, choosing
from mmspec.assembly import Recipe
from mmspec.bench.contenders import Contender, EngineContender, GenerateContender
from mmspec.bench.race import Race
from mmspec.bench.statistics import median_rate
from mmspec.engine import Engine
from mmspec.pipelines import default_prompt, pipeline
from mmspec.sampling import Sampling
from mmspec.token_target import Request

BASELINE = "plain loop"
LONG_CLIP = 12  # frames from which "auto" expects visual tokens to dominate


@dataclass(frozen=True)
class CaptionBench:
    """What is measured.

    Attributes:
        model: Embedded name, folder or Hub id of the target.
        data: Folder of pictures; None takes unseen pictures of the embedded world.
        images: How many pictures or clips.
        frames: Frames of each clip; 0 measures pictures.
        repeats: Interleaved repeats.
        max_new_tokens: Most tokens a caption may have.
        temperatures: One table each; 0 is greedy.
        dtype: ``float32``, ``bfloat16``, or ``auto``: whichever runs the plain loop faster here.
        prompt: Text of the request; None takes the pipeline's default.
        drafter: Trained drafter for a target that is not embedded.
    """

    model: str = "tiny"
    data: str | None = None
    images: int = 32
    frames: int = 0
    repeats: int = 5
    max_new_tokens: int = 128
    temperatures: tuple[float, ...] = (0.0, 1.0)
    dtype: str = "auto"
    prompt: str | None = None
    drafter: str | None = None

    def __post_init__(self) -> None:
        if self.images < 1 or self.repeats < 1:
            raise ValueError("a benchmark needs at least one image and one repeat")


def shown(bench: CaptionBench) -> list[list[Any]]:
    """What is captioned, RGB: one picture each, or the frames of a clip each."""
    if bench.data is not None:
        return _of_folder(bench, bench.data)
    if bench.frames:
        clips = _world("clips:long_caption_clips")(bench.images)
        return [_world("render:render_clip")(clip, bench.frames) for clip in clips]
    scenes = _world("scene:long_caption_scenes")(bench.images)
    return [[_world("render:render")(scene)] for scene in scenes]


def _world(name: str) -> Any:
    return catalog.resolve(f"adapters.tiny.world.{name}")


def _of_folder(bench: CaptionBench, folder: str) -> list[list[Any]]:
    from mmspec.media import collect_inputs, read_media

    found = (read_media(path, bench.frames or 1) for path in collect_inputs([folder]))
    fitting = [media.frames for media in found if media.is_video == bool(bench.frames)]
    if not fitting:
        raise ValueError(f"{folder} holds no {'clips' if bench.frames else 'pictures'}")
    return fitting[: bench.images]


def contenders(bench: CaptionBench, target: Any) -> list[Contender]:
    """Our loop plain and with every drafter there is, and transformers' own decoders."""
    blind = catalog.embedded_folder(bench.model, "draft-model")
    field: list[Contender] = [EngineContender(BASELINE, Engine(target), "none")]
    field += _transformers(target, blind)
    for row in catalog.methods("text"):
        given = row.name == choosing.choose(drafter=bench.drafter)[0].name and bench.drafter
        drafter = given or catalog.embedded_folder(bench.model, row.name)
        if not row.build or (row.trained and drafter is None):
            continue
        label = f"mmspec {row.name}" + (" (blind)" if drafter == blind and blind else "")
        engine = engine_for(bench, target, row.name, drafter, "fixed")
        field.append(EngineContender(label, engine, row.name))
    auto = engine_for(bench, target, "auto", bench.drafter, "auto")
    field.append(EngineContender(f"mmspec auto ({auto.drafter.name}, paced)", auto, "auto"))
    return field


def _transformers(target: Any, blind: Path | None) -> list[Contender]:
    """``generate``, plain and with its two kinds of assistance."""
    model = target.model
    # Left alone, its lookup proposes the prompt's image placeholders, which the model then refuses.
    lookup = {"prompt_lookup_num_tokens": 5, "suppress_tokens": list(target.image_token_ids)}
    field: list[Contender] = [
        GenerateContender("transformers generate", model),
        GenerateContender("transformers prompt lookup", model, lookup),
    ]
    if blind is not None:
        assistant = _like(target)(str(blind)).model
        options = {"assistant_model": assistant}
        field.append(GenerateContender("transformers assistant (blind)", model, options))
    return field


def engine_for(bench: CaptionBench, target: Any, method: str, drafter: Any, pacer: str) -> Engine:
    """Our loop with one method's drafter."""
    long = bench.frames >= LONG_CLIP
    recipe = Recipe.choose(method, drafter, model=bench.model, pacer=pacer, long=long)
    return recipe.engine(target, _like(target))


def _like(target: Any) -> Any:
    """Loads a second model the way the target was loaded."""
    load = catalog.resolve(catalog.TARGET_LOADER)
    return partial(load, dtype=target.dtype, device=target.device)


def load(bench: CaptionBench, dtype: str) -> Any:
    """The target in one number format."""
    return pipeline("caption", model=bench.model, method="none", dtype=dtype).target


def prepare(
    bench: CaptionBench,
    target: Any,
    images: Sequence[Sequence[Any]],
    temperature: float,
    batch: int = 1,
) -> list[Request]:
    """Batches of pictures or clips as requests, their tensors on the device."""
    prompt = bench.prompt or default_prompt(bench.model, clip=bool(bench.frames))
    groups = [images[start : start + batch] for start in range(0, len(images), batch)]
    sampling = sampling_of(bench, target, temperature)
    return [Request(target.prepare(group, [prompt] * len(group)), sampling) for group in groups]


def faster_dtype(bench: CaptionBench, images: Sequence[Sequence[Any]]) -> str:
    """The number format in which the plain loop is faster on a few of the inputs."""
    if bench.dtype != "auto":
        return bench.dtype
    rates = {}
    for dtype in ("float32", "bfloat16"):
        target = load(bench, dtype)
        race = Race([EngineContender(BASELINE, Engine(target))], BASELINE)
        race.run(prepare(bench, target, images[:4], 0.0), repeats=3)
        rates[dtype] = median_rate(race.cells[BASELINE])
    return max(rates, key=lambda dtype: rates[dtype])


def sampling_of(bench: CaptionBench, target: Any, temperature: float) -> Sampling:
    """Sampling options of one table."""
    return Sampling(
        max_new_tokens=bench.max_new_tokens,
        temperature=temperature,
        stop_ids=tuple(target.stop_ids),
    )


def pacing_contenders(bench: CaptionBench, target: Any) -> list[Contender]:
    """The plain loop, and ``auto`` with the trained drafter and with one that knows nothing."""
    trained = engine_for(bench, target, "auto", bench.drafter, "auto")
    drafter: Any = trained.drafter
    ignorant = type(drafter.network)(drafter.network.config)
    ignorant.reset_parameters(torch.Generator().manual_seed(0))
    ignorant.to(target.device, target.dtype).requires_grad_(False)
    blind = engine_for(bench, target, drafter.name, ignorant, "auto")
    return [
        EngineContender(BASELINE, Engine(target), "none"),
        EngineContender("auto, trained drafter", trained, "auto"),
        EngineContender("auto, random-weight drafter", blind, "auto"),
    ]
