"""Prompts to videos, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmspec import catalog
from mmspec.assembly import Recipe
from mmspec.pipelines.comparing import Route, blank, check_judged
from mmspec.pipelines.loading import choose_device, choose_dtype, locate
from mmspec.pipelines.options import row_seeds
from mmspec.pipelines.prompts import check_prompts
from mmspec.pipelines.rewards import check_rewarded, load_reward
from mmspec.pipelines.video_options import VideoOptions
from mmspec.pipelines.video_result import VideoResult
from mmspec.pipelines.video_run import VideoRun
from mmspec.roles import Target
from mmspec.trace import Trace

WARM_UP_BLOCKS = 2


class VideoPipeline:
    """Makes the videos it is called for; the keywords are those of diffusers' pipelines.

    Args:
        route: How to make them.
        model: What the target was asked for by.
    """

    def __init__(self, route: Route, *, model: str = "model") -> None:
        self.route, self.model = route, model
        self.engine, self.method = route.engine, route.method
        self.target: Any = route.engine.target
        self.plain = route.engine.plain()
        self._warm: set[tuple[int, ...]] = set()

    def __call__(
        self, prompt: str | Sequence[str], *, compare: bool = False, **options: Any
    ) -> VideoResult:
        """Make videos.

        Args:
            prompt: What to show, or a list of that.
            compare: Also run the plain loop under the same seeds, see :meth:`compare`.
            **options: Fields of :class:`~mmspec.pipelines.video_options.VideoOptions`.

        Returns:
            The videos, those of the first prompt first, with the trace of how they were made.

        Raises:
            ValueError: A prompt or option that is refused; the message says what to do.
            Interrupted: Ctrl-C; carries the result so far.
            UnfinishedError: A block could not be made; carries the result so far.
        """
        return self.begin(prompt, compare=compare, **options).run()

    def begin(
        self, prompt: str | Sequence[str], *, compare: bool = False, **options: Any
    ) -> VideoRun:
        """A call that has been refused wherever it can be, and has made nothing yet.

        The first prompt is encoded, which shows whether the model takes what is asked for.

        Args as in :meth:`__call__`.

        Raises:
            ValueError: A prompt or option that is refused; the message says what to do.
        """
        chosen = VideoOptions.of(options)
        given = [prompt] if isinstance(prompt, str) else list(prompt)
        check_prompts(given, self.model, "video")
        if chosen.score:
            check_judged(self.model, "video", "videos")
        prompts = [one for one in given for _ in range(chosen.num_videos_per_prompt)]
        seeds = row_seeds(chosen.seed, chosen.generator, len(prompts))
        return VideoRun(self, chosen, prompts, seeds, self._empty_result(chosen, compare))

    def compare(self, prompt: str | Sequence[str], **options: Any) -> VideoResult:
        """Make videos twice, with the target alone and with the method, after a warm-up of both.

        Both sides start from the same noise; which of them goes first alternates from video to
        video.
        """
        return self(prompt, compare=True, **options)

    def warm_up(self, request: Any, seeds: list[int]) -> None:
        """Run both loops over a few blocks once a size: first calls pay for allocations."""
        if request.shape in self._warm:
            return
        self._warm.add(request.shape)
        for engine in (self.plain, self.engine):
            engine.generate(request.brief(WARM_UP_BLOCKS), Trace(), seeds=seeds)

    def parameters(self, options: VideoOptions) -> dict[str, Any]:
        """Length, size and rate as they will be used: the call's, else the model's defaults.

        Raises:
            ValueError: Blocks do not divide the frames.
        """
        defaults = self.target.defaults
        blocks = options.blocks or defaults.blocks
        if options.num_frames is not None:
            blocks = self.target.blocks_of(options.num_frames)
        return {
            "blocks": blocks,
            "num_frames": self.target.frames_of(blocks),
            "height": options.height or defaults.height,
            "width": options.width or defaults.width,
            "fps": options.fps or defaults.fps,
        }

    def _empty_result(self, options: VideoOptions, compare: bool) -> VideoResult:
        return VideoResult(
            parameters=self.parameters(options),
            output_type=options.output_type,
            **blank(self.route, self.model, compare),
        )


def load_filmmaker(
    model: Any = "tiny-video",
    *,
    method: str = "auto",
    drafter: Any = None,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    shared: str | Path | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    reward: str | None = None,
    reward_weights: str | Path | None = None,
    strict: bool = False,
    **options: Any,
) -> VideoPipeline:
    """Everything ``pipeline("video", ...)`` needs.

    Args:
        model: ``"tiny-video"``, which comes with the package; a folder, file or Hub id of a Wan
            model as :func:`adapters.wan.opening.open_target` takes it, or a loaded target.
        method: A name from the catalog; ``"auto"`` has the target make every block, since every
            other method is lossy.
        drafter: Folder, file, Hub id or ready object; None takes the one that comes with the model.
        device: ``"auto"`` is CUDA where there is one, else the CPU.
        dtype: As for captions, see :func:`mmspec.pipelines.loading.load_captioner`.
        revision: Revision of a Hub model.
        shared: Folder or Hub id of the autoencoder and the text encoder, where they are not with
            the model.
        preset: How the models were distilled: ``self-forcing``, ``causvid`` or ``krea``; None takes
            what the model's folder says, else ``self-forcing``.
        settings: What is different from that, for target and drafter: fields of
            :class:`adapters.wan.settings.WanSettings`.
        reward: Name of the reward that the method compares with its threshold, see
            :func:`mmspec.pipelines.rewards.load_reward`; instead of the option ``scorer``.
        reward_weights: File or folder of its weights.
        strict: Raise when the drafter fails, instead of going on with the target and a warning.
        **options: The method's own options, listed in its catalog row.

    Raises:
        ValueError: Unknown method, option or reward, or a model that cannot be used.
    """
    name = model if isinstance(model, str) else None
    place = choose_device(device)
    if plan := [option for option in catalog.PLAN_OPTIONS if option in options]:
        raise ValueError(f"video methods draft one block at a time; leave out {', '.join(plan)}")
    check_rewarded(method, reward, reward_weights, options)
    settle = partial(
        Recipe.choose, method, drafter, family="video", model=name, strict=strict, pacer="fixed"
    )
    settle(**options)  # refuses what is wrong before the weights of a reward are read
    if reward is not None:
        options["scorer"] = load_reward(reward, reward_weights, place)
    recipe = settle(**options)
    number = choose_dtype(dtype, place, name, "video")
    load = partial(
        _loader(),
        dtype=number,
        device=place,
        preset=preset,
        settings=settings,
    )
    target = _target(model, partial(load, revision=revision, shared=shared))
    label = name or str(getattr(target, "name", "")) or "model"
    engine = recipe.engine(target, partial(load, like=target))
    return VideoPipeline(Route(engine, recipe.method, recipe.why), model=label)


def _loader() -> Any:
    """The function behind the catalog's path.

    Raises:
        ValueError: The library that its models are made of is missing.
    """
    if find_spec("diffusers") is None:
        raise ValueError("video models need diffusers: pip install 'mmspec[generation]'")
    return catalog.resolve(catalog.VIDEO_LOADER)


def _target(model: Any, load: Any) -> Any:
    if isinstance(model, Target):
        return model
    if not isinstance(model, str | Path):
        raise TypeError(
            f"model must be a name, a folder or a loaded target, got {type(model).__name__}"
        )
    return load(locate(model, "video"))
