"""What an image call may be told; the command line takes its defaults from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from mmspec.pipelines.options import MAX_BATCH, keywords
from mmspec.pipelines.prompts import check_prompts

if TYPE_CHECKING:
    from mmspec.pipelines.image_result import ImageOutput

MAX_IMAGES = 10_000  # of one prompt
OUTPUT_TYPES = ("pil", "pt", "np")
# What a target decides about: those that are None take its own defaults.
MODEL_OPTIONS = (
    "guidance_scale",
    "temperature",
    "top_k",
    "top_p",
    "cfg_interval",
    "num_inference_steps",
    "num_ar_steps",
    "guidance_schedule",
)


@dataclass(frozen=True)
class ImageOptions:
    """How to generate images. None takes the model's own default.

    Attributes:
        num_images_per_prompt: Images of each prompt or class.
        guidance_scale: Strength of classifier-free guidance; 1 is none.
        temperature: 0 is greedy decoding.
        top_k: Keep the ``k`` most likely codes; 0 keeps all.
        top_p: Keep the smallest set of codes with at least this mass; 1 keeps all.
        cfg_interval: Guidance ends after this many cells; -1, the default, never ends it.
        num_inference_steps: Denoising steps of a vector; models of latent vectors only.
        num_ar_steps: Steps in which a masked model fills the picture; None is one a cell.
        guidance_schedule: ``linear`` or ``constant``; models of latent vectors only.
        seed: Image ``i`` of the call draws from seed ``seed + i``, whatever batch it is in.
        generator: A ``torch.Generator``, or a list of one an image, to draw the seeds from when no
            seed is given.
        batch_size: Images generated together, each at its own position.
        output_type: ``"pil"`` (list of Pillow images), ``"pt"`` (tensor ``(n, 3, height, width)``)
            or ``"np"`` (array ``(n, height, width, 3)``), the last two floating in ``[0, 1]``.
        score: Have the small world's judge look at the images; embedded models only.
        callback_on_step_end: Called as ``callback(pipe, step, timestep, kwargs)`` after every
            round; see :class:`mmspec.pipelines.image_run.Watch`.
        on_batch: Called with the list of finished :class:`ImageOutput` as soon as a batch is done.
        progress: Show a progress bar over the cells on stderr.
    """

    num_images_per_prompt: int = 1
    guidance_scale: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    cfg_interval: int | None = None
    num_inference_steps: int | None = None
    num_ar_steps: int | None = None
    guidance_schedule: str | None = None
    seed: int | None = None
    generator: Any = None
    batch_size: int = 1
    output_type: str = "pil"
    score: bool = False
    callback_on_step_end: Callable[[Any, int, int, dict[str, Any]], Any] | None = None
    on_batch: Callable[[list[ImageOutput]], Any] | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        for name, most in (("num_images_per_prompt", MAX_IMAGES), ("batch_size", MAX_BATCH)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise ValueError(f"{name} must be between 1 and {most:,}, got {value}")
        scale = self.guidance_scale
        if scale is not None and not (scale >= 0 and isfinite(scale)):
            raise ValueError(f"guidance_scale must be 0 or above (1 is no guidance), got {scale}")
        if self.cfg_interval is not None and self.cfg_interval < -1:
            raise ValueError(
                f"cfg_interval must be -1 (guidance to the end) or above, got {self.cfg_interval}"
            )
        if self.output_type not in OUTPUT_TYPES:
            allowed = ", ".join(OUTPUT_TYPES)
            raise ValueError(f"output_type must be one of {allowed}, got {self.output_type!r}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ImageOptions:
        """Options from keyword arguments; a misspelt one is an error that lists the known ones."""
        return keywords(cls, given)


@dataclass(frozen=True)
class Subject:
    """What one image is to show: a prompt, or a class by its number."""

    prompt: str | None = None
    class_id: int | None = None

    @property
    def label(self) -> str:
        """What to call it."""
        return self.prompt if self.prompt is not None else f"class {self.class_id}"


def subjects_of(
    prompt: str | Sequence[str] | None, class_id: int | Sequence[int] | None, model: str = ""
) -> list[Subject]:
    """One subject for each prompt or class given.

    Args:
        prompt: What to draw.
        class_id: Instead of prompts.
        model: As in :func:`~mmspec.pipelines.prompts.check_prompts`.

    Raises:
        ValueError: Neither or both are given, a prompt is empty or too long, a class is negative.
        TypeError: A prompt that is no text, a class that is no whole number.
    """
    if (prompt is None) == (class_id is None):
        given = "neither" if prompt is None else "both"
        raise ValueError(f"give a prompt or a class_id, {given} was given")
    if prompt is not None:
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        check_prompts(texts, model)
        return [Subject(prompt=text) for text in texts]
    assert class_id is not None
    numbers = [class_id] if isinstance(class_id, int) else list(class_id)
    if not numbers:
        raise ValueError("the list of class_id is empty; give at least one")
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"class_id must be a whole number, got {number!r}")
        if number < 0:
            raise ValueError(f"class_id must be 0 or above, got {number}")
    return [Subject(class_id=number) for number in numbers]
