"""The caption suite: every way to caption the same pictures, side by side in one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmspec import catalog
from mmspec.assembly import Recipe
from mmspec.bench.contenders import Contender, EngineContender, GenerateContender
from mmspec.bench.race import Race
from mmspec.engine import Engine
from mmspec.pipelines import default_prompt, pipeline
from mmspec.sampling import Sampling

BASELINE = "plain loop"


@dataclass(frozen=True)
class CaptionBench:
    """What is measured.

    Attributes:
        model: Embedded name, folder or Hub id of the target.
        data: Folder of pictures; None takes unseen pictures of the embedded world.
        images: How many pictures.
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
    repeats: int = 5
    max_new_tokens: int = 128
    temperatures: tuple[float, ...] = (0.0, 1.0)
    dtype: str = "auto"
    prompt: str | None = None
    drafter: str | None = None

    def __post_init__(self) -> None:
        if self.images < 1 or self.repeats < 1:
            raise ValueError("a benchmark needs at least one image and one repeat")


def pictures(bench: CaptionBench) -> list[Any]:
    """The pictures to caption, RGB."""
    if bench.data is not None:
        from mmspec.media import collect_inputs, read_image

        return [read_image(path).frames[0] for path in collect_inputs([bench.data])[: bench.images]]
    scenes = catalog.resolve("adapters.tiny.world.scene:long_caption_scenes")
    render = catalog.resolve("adapters.tiny.world.render:render")
    return [render(scene) for scene in scenes(bench.images)]


def contenders(bench: CaptionBench, target: Any) -> list[Contender]:
    """Our loop plain and with every drafter there is, and transformers' own decoders."""
    blind = catalog.embedded_folder(bench.model, "draft-model")
    field: list[Contender] = [EngineContender(BASELINE, Engine(target))]
    field += _transformers(target, blind)
    for row in catalog.methods("text"):
        given = bench.drafter if row.name == "eagle" else None
        drafter = given or catalog.embedded_folder(bench.model, row.name)
        if not row.build or (row.trained and drafter is None):
            continue
        label = f"mmspec {row.name}" + (" (blind)" if drafter == blind and blind else "")
        field.append(EngineContender(label, _engine(bench, target, row.name, drafter, "fixed")))
    auto = _engine(bench, target, "auto", bench.drafter, "auto")
    field.append(EngineContender(f"mmspec auto ({auto.drafter.name}, paced)", auto))
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


def _engine(bench: CaptionBench, target: Any, method: str, drafter: Any, pacer: str) -> Engine:
    recipe = Recipe.choose(method, drafter, model=bench.model, pacer=pacer)
    return recipe.engine(target, _like(target))


def _like(target: Any) -> Any:
    """Loads a second model the way the target was loaded."""
    load = catalog.resolve(catalog.TARGET_LOADER)
    return partial(load, dtype=target.dtype, device=target.device)


def load(bench: CaptionBench, dtype: str) -> Any:
    """The target in one number format."""
    return pipeline("caption", model=bench.model, method="none", dtype=dtype).target


def prepare(
    bench: CaptionBench, target: Any, images: Sequence[Any], batch: int = 1
) -> list[dict[str, Any]]:
    """Batches of pictures as tensors on the device."""
    prompt = bench.prompt or default_prompt(bench.model)
    groups = [images[start : start + batch] for start in range(0, len(images), batch)]
    return [target.prepare([[image] for image in group], [prompt] * len(group)) for group in groups]


def faster_dtype(bench: CaptionBench, images: Sequence[Any]) -> str:
    """The number format in which the plain loop is faster on a few of the pictures."""
    if bench.dtype != "auto":
        return bench.dtype
    rates = {}
    for dtype in ("float32", "bfloat16"):
        target = load(bench, dtype)
        race = Race([EngineContender(BASELINE, Engine(target))], BASELINE)
        inputs = prepare(bench, target, images[:4])
        race.run(inputs, sampling_of(bench, target, 0.0), repeats=3)
        rates[dtype] = race.standings()[0].tokens_per_second
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
    trained = _engine(bench, target, "auto", bench.drafter, "auto")
    eagle: Any = trained.drafter
    head = eagle.head
    ignorant = type(head)(head.config)
    generator = torch.Generator().manual_seed(0)
    for weight in ignorant.parameters():
        torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5, generator=generator)
    ignorant.to(target.device, target.dtype).requires_grad_(False)
    return [
        EngineContender(BASELINE, Engine(target)),
        EngineContender("auto, trained drafter", trained),
        EngineContender(
            "auto, random-weight drafter", _engine(bench, target, "eagle", ignorant, "auto")
        ),
    ]
