"""Prompts and classes to images, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.assembly import Recipe
from mmspec.pipelines.comparing import Route, blank, check_judged
from mmspec.pipelines.image_options import MODEL_OPTIONS, ImageOptions, Subject, subjects_of
from mmspec.pipelines.image_result import ImageResult
from mmspec.pipelines.image_run import ImageRun
from mmspec.pipelines.loading import choose_device, choose_dtype, locate
from mmspec.pipelines.options import row_seeds
from mmspec.roles import Pacer, Target
from mmspec.trace import Trace

WARM_UP_TOKENS = 32


class ImagePipeline:
    """Generates the images it is called for; the keywords are those of diffusers' pipelines.

    Args:
        route: How to generate.
        model: What the target was asked for by.
    """

    def __init__(self, route: Route, *, model: str = "model") -> None:
        self.route, self.model = route, model
        self.engine, self.method = route.engine, route.method
        self.target: Any = route.engine.target
        self.plain = route.engine.plain()
        self._warm: set[int] = set()

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        class_id: int | Sequence[int] | None = None,
        compare: bool = False,
        **options: Any,
    ) -> ImageResult:
        """Generate images.

        Args:
            prompt: What to draw, or a list of that.
            class_id: The class to draw by its number, or a list of them; instead of a prompt.
            compare: Also run the plain loop under the same seeds, see :meth:`compare`.
            **options: Fields of :class:`~mmspec.pipelines.image_options.ImageOptions`.

        Returns:
            The images, those of the first prompt first, with the trace of how they were made.

        Raises:
            ValueError: A prompt, class or option that is refused; the message says what to do.
            Interrupted: Ctrl-C; carries the result so far.
        """
        return self.begin(prompt, class_id=class_id, compare=compare, **options).run()

    def begin(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        class_id: int | Sequence[int] | None = None,
        compare: bool = False,
        **options: Any,
    ) -> ImageRun:
        """A call that has been refused wherever it can be, and has generated nothing yet.

        The first batch is prepared, which shows whether the model takes what is asked for; the run
        uses it, so that no prompt is encoded twice.

        Args as in :meth:`__call__`.

        Raises:
            ValueError: A prompt, class or option that is refused; the message says what to do.
        """
        chosen = ImageOptions.of(options)
        given = self._check(prompt, class_id, chosen)
        subjects = [one for one in given for _ in range(chosen.num_images_per_prompt)]
        seeds = row_seeds(chosen.seed, chosen.generator, len(subjects))
        return ImageRun(self, chosen, subjects, seeds, self._empty_result(chosen, compare))

    def compare(self, prompt: str | Sequence[str] | None = None, **options: Any) -> ImageResult:
        """Generate twice, plainly and with the method, after a warm-up of both.

        Both sides read the same prepared tensors and draw from the same seeds; which of them goes
        first alternates from batch to batch.
        """
        return self(prompt, compare=True, **options)

    def _check(
        self,
        prompt: str | Sequence[str] | None,
        class_id: int | Sequence[int] | None,
        options: ImageOptions,
    ) -> list[Subject]:
        """Refuse whatever can be refused before anything is encoded.

        Returns:
            What to draw, in order.

        Raises:
            ValueError: The message says what is wrong and what to do.
        """
        given = subjects_of(prompt, class_id, self.model)
        parameters = self.parameters(options)
        if options.score:
            check_judged(self.model, "image", "pictures")
        if class_id is not None:
            self.request(given, parameters)  # costs nothing, and shows every wrong number
        return given

    def parameters(self, options: ImageOptions) -> dict[str, Any]:
        """Guidance and sampling as they will be used: the call's, else the model's defaults.

        Raises:
            ValueError: An option that this kind of model does not have.
        """
        given = {name: getattr(options, name) for name in MODEL_OPTIONS}
        chosen: dict[str, Any] = self.target.parameters(given)
        return chosen

    def request(self, subjects: Sequence[Subject], parameters: dict[str, Any]) -> Any:
        """A batch to draw.

        Raises:
            ValueError: A prompt or class that the model does not take.
        """
        prompts = [one.prompt for one in subjects if one.prompt is not None]
        classes = [one.class_id for one in subjects if one.class_id is not None]
        return self.target.request(prompts or None, classes or None, parameters)

    def warm_up(self, request: Any, seeds: list[int]) -> None:
        """Run both loops once a batch size: first calls pay for allocations.

        The method draws whole images, because some drafters work in steps of whole images.
        """
        if len(seeds) in self._warm:
            return
        self._warm.add(len(seeds))
        self.plain.generate(request.brief(WARM_UP_TOKENS), Trace(), seeds=seeds)
        self.engine.generate(request, Trace(), seeds=seeds)

    def _empty_result(self, options: ImageOptions, compare: bool) -> ImageResult:
        grid = self.target.grid
        return ImageResult(
            grid=(grid.rows, grid.columns),
            cells=grid.cell_positions(),
            parameters=self.parameters(options),
            output_type=options.output_type,
            **blank(self.route, self.model, compare),
        )


def load_painter(
    model: Any = "tiny",
    *,
    method: str = "auto",
    drafter: Any = None,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    vq: str | Path | None = None,
    vae: str | Path | None = None,
    text_encoder: Any = None,
    image_size: int | None = None,
    strict: bool = False,
    pacer: str | Pacer = "fixed",
    bias_budget: float | None = None,
    draft_length: int | None = None,
    tree_width: int | None = None,
    tree_budget: int | None = None,
    **options: Any,
) -> ImagePipeline:
    """Everything ``pipeline("image", ...)`` needs.

    Args:
        model: ``"tiny"`` (prompts) or ``"tiny-c2i"`` (classes), which come with the package; a
            local folder, a Hub id, or a loaded target.
        method: A name from the catalog; ``"auto"`` takes the exact method that needs no training.
        drafter: Folder, Hub id or ready object; None takes the one that comes with the model.
        device: ``"auto"`` is CUDA where there is one, else the CPU.
        dtype: As for captions, see :func:`mmspec.pipelines.loading.load_captioner`.
        revision: Revision of a Hub model.
        vq: File of the image tokenizer, for an official LlamaGen transformer.
        vae: File of the autoencoder, for an official MAR network.
        text_encoder: A T5 encoder's folder or name, for an official LlamaGen text model.
        image_size: Pixels of a side, where the transformer's file does not say them.
        strict: Raise when the drafter fails, instead of decoding plainly with a warning.
        pacer: ``"fixed"`` drafts the full plan every round, so that a seed always draws the same
            image; ``"auto"`` fits the draft length to measured seconds, which keeps the law but not
            the image of a seed; or a pacer.
        bias_budget: Largest mean one-step bias that a relaxed rule may reach; None sets no limit.
        draft_length: Most draft steps a round.
        tree_width: Children considered at a node of a draft tree.
        tree_budget: Most drafted tokens a round.
        **options: The method's own options, listed in its catalog row.

    Raises:
        ValueError: Unknown method or option, or a model that cannot be used.
    """
    name = model if isinstance(model, str) else None
    # Only "auto" chooses by what the model draws; a named method is checked once it is loaded.
    units = _units(model, revision, vae) if method == "auto" else "tokens"
    recipe = Recipe.choose(
        method,
        drafter,
        family="image",
        model=name,
        strict=strict,
        pacer=pacer,
        bias_budget=bias_budget,
        draft_length=draft_length,
        tree_width=tree_width,
        tree_budget=tree_budget,
        units=units,
        **options,
    )
    place = choose_device(device)
    number = choose_dtype(dtype, place, name, "image")
    load = partial(catalog.resolve(catalog.IMAGE_LOADER), dtype=number, device=place)
    files = {"vq": vq, "vae": vae, "text_encoder": text_encoder, "image_size": image_size}
    given = {key: value for key, value in files.items() if value is not None}
    target = _target(model, partial(load, revision=revision, **given))
    label = name or str(getattr(target, "name", "")) or "model"
    return ImagePipeline(Route(recipe.engine(target, load), recipe.method, recipe.why), model=label)


def _units(model: Any, revision: str | None, vae: Any) -> str:
    """What a model draws, before it is loaded."""
    if not isinstance(model, str | Path):
        return str(getattr(model, "units", "tokens"))
    if vae is not None:
        return "latents"
    units: str = catalog.resolve(catalog.IMAGE_UNITS)(str(locate(model, "image")), revision)
    return units


def _target(model: Any, load: Any) -> Any:
    if isinstance(model, Target):
        return model
    if not isinstance(model, str | Path):
        raise TypeError(
            f"model must be a name, a folder or a loaded target, got {type(model).__name__}"
        )
    return load(str(locate(model, "image")))
