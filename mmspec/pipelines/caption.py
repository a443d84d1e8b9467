"""Pictures and clips to captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mmspec.choosing import LONG_INPUT
from mmspec.media import Clip, Picture
from mmspec.pipelines import default_prompt
from mmspec.pipelines.comparing import Route, blank, declined_note, generate_both
from mmspec.pipelines.inputs import list_sources
from mmspec.pipelines.options import CaptionOptions
from mmspec.pipelines.result import CaptionResult, Interrupted
from mmspec.pipelines.run import Run
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trace import Trace

WARM_UP_TOKENS = 32


class CaptionPipeline:
    """Captions whatever it is called with.

    Args:
        route: How to caption.
        model: What the target was asked for by.
        long: How to caption inputs of :data:`mmspec.choosing.LONG_INPUT` visual tokens or more, on
            the same target; None takes the first route for all.
    """

    def __init__(self, route: Route, *, model: str = "model", long: Route | None = None) -> None:
        self.engine, self.method, self.model = route.engine, route.method, model
        self.target: Any = route.engine.target
        self._route, self._long = route, long
        self._plain = route.engine.plain()
        self._warm: set[tuple[int, str]] = set()

    def __call__(
        self, inputs: Any, prompt: str | None = None, *, compare: bool = False, **options: Any
    ) -> CaptionResult:
        """Caption inputs.

        Args:
            inputs: A path to a picture, clip or folder; a Pillow image; an array; encoded bytes; or
                a list of those, in which an inner list is the frames of one clip.
            prompt: What to ask; the default asks for a description.
            compare: Also run the plain loop on the same prepared inputs, see :meth:`compare`.
            **options: Fields of :class:`~mmspec.pipelines.options.CaptionOptions`.

        Returns:
            The captions, with the trace of how they were made.

        Raises:
            ValueError: An option out of range, or (unless ``on_error="skip"``) an input that cannot
                be read; the message says what to do.
            Interrupted: Ctrl-C; carries the result so far.
        """
        chosen = CaptionOptions.of(options)
        sampling = chosen.sampling(self.target.stop_ids)
        self.check_prompt(prompt)
        sources, single = list_sources(inputs, chosen.on_error)
        result = self._empty_result(single, compare)
        run = Run(self, chosen, sampling, prompt, result, len(sources))
        try:
            run.all(sources)
        except KeyboardInterrupt:
            raise Interrupted(run.finish()) from None
        return run.finish()

    def compare(self, inputs: Any, prompt: str | None = None, **options: Any) -> CaptionResult:
        """Caption inputs twice, plainly and with the method, after a warm-up of both.

        Both sides read the same prepared tensors; vision and prefill count on both. Which side goes
        first alternates from batch to batch.
        """
        return self(inputs, prompt, compare=True, **options)

    def check_prompt(self, prompt: str | None) -> None:
        """Refuse a prompt the target cannot take, before any input is read.

        Raises:
            ValueError: It contains a placeholder token.
        """
        if prompt is not None:
            self.target.prepare([[]], [prompt])

    def check_length(self, inputs: dict[str, Any], sampling: Sampling) -> None:
        """Refuse what the model's position table cannot hold, before the cache is allocated.

        Raises:
            ValueError: Prompt and caption together are too long.
        """
        config = getattr(getattr(self.target, "model", None), "config", None)
        text = config.get_text_config() if config is not None else None
        limit = getattr(text, "max_position_embeddings", None)
        length = int(inputs["input_ids"].shape[1])
        if limit and length + sampling.max_new_tokens > limit:
            raise ValueError(
                f"the prompt has {length} tokens and max_new_tokens asks for "
                f"{sampling.max_new_tokens} more, but the model holds {limit}; "
                "lower max_new_tokens, take fewer frames or shorten the prompt"
            )

    def prepare(self, media: Sequence[Picture | Clip], prompt: str | None) -> dict[str, Any]:
        """The target's tensors for a batch; a model without video input sees frames as pictures."""
        clips_too = bool(getattr(self.target, "supports_video", False))
        images = [[] if m.is_video and clips_too else list(m.frames) for m in media]
        videos = [[list(m.frames)] if m.is_video and clips_too else [] for m in media]
        prompts = [prompt or default_prompt(self.model, m.is_video) for m in media]
        inputs: dict[str, Any] = self.target.prepare(images, prompts, videos)
        return inputs

    def route(self, inputs: dict[str, Any]) -> Route:
        """How to caption a batch: by the most visual tokens of a row."""
        if self._long is not None:
            ids = inputs["input_ids"]
            visual = torch.isin(ids, torch.tensor(self.target.image_token_ids, device=ids.device))
            if visual.sum(1).max() >= LONG_INPUT:
                return self._long
        return self._route

    def warm_up(self, inputs: dict[str, Any], sampling: Sampling, seeds: list[int]) -> None:
        """A short run of both loops, once a batch size: first calls pay for allocations."""
        route = self.route(inputs)
        if (len(seeds), route.method.name) in self._warm:
            return
        self._warm.add((len(seeds), route.method.name))
        for engine in (self._plain, route.engine):
            limit = min(sampling.max_new_tokens, WARM_UP_TOKENS)
            short = Sampling(max_new_tokens=limit, temperature=sampling.temperature)
            engine.generate(Request(inputs, short), Trace(), seeds=seeds)

    def generate(
        self,
        inputs: dict[str, Any],
        sampling: Sampling,
        seeds: list[int],
        traces: tuple[Trace, Trace | None],
        on_commit: Callable[[Any], Any] | None,
        plain_first: bool,
    ) -> tuple[list[list[int]], list[list[int]] | None]:
        """Ids of a batch by the method and, where a second trace is given, by the plain loop."""
        engines = (self.route(inputs).engine, self._plain)
        request = Request(inputs, sampling)
        return generate_both(engines, request, seeds, traces, (on_commit, None), plain_first)

    def declined(self, trace: Trace) -> str:
        """A note if the pacer prefers plain decoding right now."""
        routes = [route for route in (self._route, self._long) if route is not None]
        return declined_note(routes, trace)

    def _empty_result(self, single: bool, compare: bool) -> CaptionResult:
        # Which routes are taken, and why, is noted once inputs have been seen.
        found = blank(self._route, self.model, compare) | {"trace": Trace()}
        return CaptionResult(decode=self.target.decode, single=single, **found)
