"""The caption suite: every way to caption the same pictures, side by side in one run."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.bench.contenders import Contender, EngineContender, GenerateContender
from mmspec.bench.race import Race
from mmspec.engine import Engine
from mmspec.pacing import CostFitted, Fixed
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
    world = importlib.import_module("adapters.tiny.world")
    return [world.render(world.held_out_scene(index)) for index in range(bench.images)]


def contenders(bench: CaptionBench, target: Any) -> list[Contender]:
    """Our loop plain and with every drafter there is, and transformers' own decoders."""
    field: list[Contender] = [EngineContender(BASELINE, Engine(target))]
    field.append(GenerateContender("transformers generate", target.model))
    field.append(
        GenerateContender(
            "transformers prompt lookup", target.model, {"prompt_lookup_num_tokens": 5}
        )
    )
    blind = catalog.embedded_folder(bench.model, "draft-model")
    if blind is not None:
        assistant = _load(str(blind), target)
        field.append(
            GenerateContender(
                "transformers assistant (blind)", target.model, {"assistant_model": assistant.model}
            )
        )
    for name in catalog.names("text"):
        row = catalog.get(name)
        folder = catalog.embedded_folder(bench.model, name)
        given = bench.drafter if name == "eagle" else None
        if not row.build or (row.trained and folder is None and given is None):
            continue
        context = catalog.BuildContext(
            target, given or folder, lambda path: _load(str(path), target), {}
        )
        plan = row.plan()
        label = f"mmspec {name}" + (" (blind)" if name.startswith("draft-model") else "")
        engine = Engine(
            target, row.drafter(context), row.make_rule(), Fixed(plan), lookahead=plan.nodes
        )
        field.append(EngineContender(label, engine))
        if name == "eagle":
            paced = Engine(
                target,
                row.drafter(context),
                row.make_rule(),
                CostFitted(plan),
                lookahead=plan.nodes,
            )
            field.append(EngineContender("mmspec auto (eagle, paced)", paced))
    return field


def load(bench: CaptionBench, dtype: str) -> Any:
    """The target in one number format."""
    folder = catalog.embedded_folder(bench.model, "model")
    return catalog.resolve(catalog.TARGET_LOADER)(str(folder or bench.model), dtype=dtype)


def _load(name: str, like: Any) -> Any:
    return catalog.resolve(catalog.TARGET_LOADER)(name, dtype=like.dtype, device=like.device)


def prepare(bench: CaptionBench, target: Any, images: Sequence[Any]) -> list[dict[str, Any]]:
    """One batch of one a picture, as tensors on the device."""
    prompt = bench.prompt or catalog.resolve("mmspec.pipelines:default_prompt")(bench.model)
    return [target.prepare([[image]], [prompt]) for image in images]


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


def write_raw(race: Race, folder: Path, name: str, provenance: dict[str, Any]) -> Path:
    """Raw records of one table; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    race.write(path, provenance)
    return path
