"""Who takes part in generating the same pictures, on which prompts, and how they are judged."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from mmspec import catalog
from mmspec.assembly import Recipe
from mmspec.engine import Engine
from mmspec.pipelines import pipeline
from mmspec.pipelines.image_options import Subject
from mmspec.pipelines.image_run import to_image

BASELINE = "plain loop"
BATCH = 8
# What relaxes a method, from nothing to much; None is the method at its defaults.
KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {
    "gsd": ("group_size", (1, 3, 10, 25, 50)),
    "lantern": ("delta", (0.0, 0.05, 0.1, 0.2, 0.4)),
    "lantern-plus": ("multiplier", (1.0, 2.0, 5.0, 10.0)),
    "cool": ("delta", (1.0, 1.1, 1.5, 2.0)),
    "mulo": ("tau", (0.2, 0.1, 0.05, 0.02)),
}


@dataclass(frozen=True)
class ImageBench:
    """What is measured.

    Attributes:
        model: Embedded name of the target.
        images: How many prompts or classes, one picture each.
        repeats: Interleaved repeats.
        guidance_scale: Strength of guidance; None takes the model's default.
        temperature: Of sampling; None takes the model's default.
        seed: Of the prompts.
    """

    model: str = "tiny"
    images: int = 64
    repeats: int = 1
    guidance_scale: float | None = None
    temperature: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 1 or self.repeats < 1:
            raise ValueError("a benchmark needs at least one image and one repeat")


def subjects_of(bench: ImageBench, target: Any) -> list[Subject]:
    """What is drawn: prompts of unseen scenes of the embedded world, or its classes in turn."""
    numbers = range(bench.images)
    if target.classes is not None:
        # Every seventh: neighbours in the list of classes differ in shape only.
        return [Subject(class_id=(bench.seed + 7 * n) % len(target.classes)) for n in numbers]
    scene = catalog.resolve("adapters.tiny.images.codes:code_scene")
    write = catalog.resolve("adapters.tiny.world.prompts:write_prompt")
    scenes = [scene(number, held_out=True) for number in numbers]
    return [
        Subject(prompt=write(one, random.Random(bench.seed + number)))
        for number, one in zip(numbers, scenes, strict=True)
    ]


def methods_here(bench: ImageBench) -> list[catalog.Method]:
    """The methods over picture tokens that the model has all parts of."""
    rows = [row for row in catalog.methods("image") if row.build and row.units == "tokens"]
    return [
        row
        for row in rows
        if not row.trained or catalog.embedded_folder(bench.model, row.name, "image")
    ]


def engine_for(bench: ImageBench, target: Any, method: str, **options: Any) -> Engine:
    """Our loop with one method, its full plan every round."""
    recipe = Recipe.choose(
        method, family="image", model=bench.model, pacer="fixed", strict=True, **options
    )
    load = catalog.resolve(catalog.IMAGE_LOADER)
    return recipe.engine(target, partial(load, dtype=target.dtype, device=target.device))


def load(bench: ImageBench) -> Any:
    """The target."""
    return pipeline("image", bench.model, method="none").target


def batch_ratio(bench: ImageBench, target: Any, engine: Engine) -> float:
    """Seconds of one batch of eight prompts over those of eight single runs."""
    subjects = subjects_of(bench, target)[:BATCH]
    together = request_for(bench, target, subjects)
    alone = [request_for(bench, target, [subject]) for subject in subjects]

    def seconds(batches: Sequence[Any]) -> float:
        start, first = time.perf_counter(), 0
        for request in batches:
            engine.generate(request, seeds=range(first, first + request.rows))
            first += request.rows
        return time.perf_counter() - start

    seconds([alone[0]])
    ratios = sorted(seconds([together]) / seconds(alone) for _ in range(3))
    return ratios[1]


def request_for(bench: ImageBench, target: Any, subjects: Sequence[Subject]) -> Any:
    """A batch of them."""
    given = {"guidance_scale": bench.guidance_scale, "temperature": bench.temperature}
    return target.request(*_asked(subjects), target.parameters(given))


def _asked(subjects: Sequence[Subject]) -> tuple[list[str] | None, list[int] | None]:
    """Prompts and classes, one of which is None."""
    prompts = [one.prompt for one in subjects if one.prompt is not None]
    classes = [one.class_id for one in subjects if one.class_id is not None]
    return prompts or None, classes or None


def judged(
    target: Any, subjects: Sequence[Subject], ids: Sequence[Sequence[Any]]
) -> dict[str, list[float]]:
    """What the small world's judge says of every picture, by kind of question.

    Args:
        target: Turns units into pixels.
        subjects: What was asked for.
        ids: The units of each picture.

    Returns:
        Shares of right answers, one a picture; a kind that not every picture is asked is left out.
    """
    judge = catalog.resolve(catalog.IMAGE_SCORER)
    pictures = _pictures(target, ids)
    said = [
        judge(*_asked([subject]), [picture])
        for subject, picture in zip(subjects, pictures, strict=True)
    ]
    common = [name for name in said[0] if all(name in one for one in said)]
    return {name: [one[name] for one in said] for name in common}


def _pictures(target: Any, ids: Sequence[Sequence[Any]]) -> list[Image.Image]:
    cells = target.grid.cell_positions()
    pixels = target.to_pixels([[row[cell] for cell in cells] for row in ids])
    return [to_image(one.cpu()) for one in pixels]


def entries_at_defaults(bench: ImageBench, target: Any) -> list[tuple[str, str, Engine]]:
    """Every method as it comes; the learned drafter also with the tree that LANTERN takes."""
    entries = [(row.name, "", engine_for(bench, target, row.name)) for row in methods_here(bench)]
    tree = next((row for row in methods_here(bench) if row.name == "lantern"), None)
    if tree is not None:
        shape = {"tree_width": tree.width, "tree_budget": tree.budget}
        entries.append(("image-eagle", "tree", engine_for(bench, target, "image-eagle", **shape)))
    return entries


def entries_by_knob(bench: ImageBench, target: Any) -> list[tuple[str, str, Engine]]:
    """Every relaxed method from hardly to much relaxed."""
    here = {row.name for row in methods_here(bench)}
    return [
        (name, f"{knob}={value:g}", engine_for(bench, target, name, **{knob: value}))
        for name, (knob, values) in KNOBS.items()
        if name in here
        for value in values
    ]
